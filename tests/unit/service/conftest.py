"""A throw-away database and the two sides of the job store on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.job_store import JobStore
from service.run_store import RunStore
from service.testing import open_store, temporary_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = temporary_database(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def store(database: sa.Engine) -> JobStore:
    return open_store(database)


@pytest.fixture
def runs(database: sa.Engine) -> RunStore:
    return RunStore(database, max_attempts=3)
