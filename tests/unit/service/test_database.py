"""How SQLite is opened."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from service import database as module
from service.database import create_database, reading, writing
from service.errors import UnavailableError


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    engine = create_database(f"sqlite:///{tmp_path / 'a.db'}")
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    yield engine
    engine.dispose()


def test_durable_and_strict_on_every_connection(database: sa.Engine) -> None:
    with reading(database) as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15000}
    assert values == expected


def test_a_failed_block_leaves_nothing(database: sa.Engine) -> None:
    with pytest.raises(ZeroDivisionError), writing(database) as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        _ = 1 / 0
    with reading(database) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0


def test_read_modify_write_by_many_threads_loses_nothing(database: sa.Engine) -> None:
    with writing(database) as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (0)")

    def add() -> None:
        for _ in range(10):
            with writing(database) as connection:
                value = connection.exec_driver_sql("SELECT x FROM t").scalar_one()
                connection.exec_driver_sql(f"UPDATE t SET x = {value + 1}")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(database) as connection:
        assert connection.exec_driver_sql("SELECT x FROM t").scalar() == 40


def test_a_locked_database_is_unavailable_and_still_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: sa.Engine
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 50)
    impatient = create_database(f"sqlite:///{tmp_path / 'a.db'}")
    with writing(database):
        with reading(impatient) as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
        with pytest.raises(UnavailableError, match="try again later"), writing(impatient):
            pass
    impatient.dispose()


def test_a_broken_constraint_is_a_bug_not_an_outage(database: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), writing(database) as connection:
        for _ in range(2):
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
