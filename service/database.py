"""The database engine: SQLite in WAL mode, durable at every commit, writers in turn.

One engine per process, shared with the job engine, so that a job row and its place in the queue
commit together. Tables are in ``tables``, changes to them in ``migrations``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from service.errors import UnavailableError

BUSY_TIMEOUT_MS = 15_000


def create_database(url: str) -> sa.Engine:
    """Open the database at ``sqlite:///path``; nothing is read or created before the first use."""
    engine = sa.create_engine(url, pool_pre_ping=False)
    sa.event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    """Set what SQLite keeps per connection.

    ``IMMEDIATE`` makes pysqlite take the write lock at the first write of a transaction; FULL
    flushes at every commit, so that an accepted job survives a power failure.
    """
    connection.isolation_level = "IMMEDIATE"
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that holds the write lock from its start.

    A transaction that reads first and then writes would otherwise fail at once, whatever the
    timeout, if somebody else committed in between.

    Raises:
        UnavailableError: The database is locked, full or gone.
    """
    with _translated(), engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for reading; it never waits for writers.

    Raises:
        UnavailableError: The database is gone.
    """
    with _translated(), engine.connect() as connection:
        yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except DBAPIError as error:
        message = "the database does not answer; try again later"
        raise UnavailableError(message) from error
