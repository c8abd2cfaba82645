from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.service.api import Api, running_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        yield api
