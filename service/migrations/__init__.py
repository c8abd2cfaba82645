"""Bringing the database to this version: a lock, Alembic for our tables, DBOS for its own.

Run at every start, by whoever comes first. The process that does it never launches the job engine,
which would take jobs.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DatabaseError

from graph_analysis.errors import SecateurError
from service.database import create_database
from service.engine.dbos_engine import migrate_engine
from service.settings import Settings


class DatabaseVersionError(SecateurError):
    """The database is damaged, or newer than this program."""

    default_code = "unavailable"


def migrate(settings: Settings) -> None:
    """Create or upgrade the database; nothing changes if it is up to date.

    Raises:
        DatabaseVersionError: It is damaged, or was written by a newer version.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_database(settings.database_url)
    try:
        with _locked(settings.locks_dir):
            _check(engine)
            upgrade(engine)
            migrate_engine(settings.database_url)
    finally:
        engine.dispose()


def upgrade(engine: sa.Engine) -> None:
    """Run the steps of ``versions`` that are missing, in one transaction.

    Raises:
        DatabaseVersionError: The database was written by a newer version.
    """
    config = _config()
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # pysqlite would run DDL in autocommit
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            message = f"{_name(engine)} was written by a newer version of secateur; install that"
            raise DatabaseVersionError(message) from error
        connection.commit()


def latest_version() -> str:
    """The version of the schema that this program expects."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "there is at least one migration"
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def _check(engine: sa.Engine) -> None:
    message = f"{_name(engine)} is damaged; restore it from a backup, it is not re-created"
    try:
        with engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    except DatabaseError as error:
        raise DatabaseVersionError(message) from error
    if verdict != "ok":
        raise DatabaseVersionError(message)


def _name(engine: sa.Engine) -> str:
    return f"the database {Path(engine.url.database or '').name}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "migration", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
