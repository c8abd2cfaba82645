"""From nothing, from the newest, from a newer and from a damaged database."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.database import create_database, writing
from service.migrations import DatabaseVersionError, latest_version, migrate
from service.settings import Settings
from service.tables import metadata


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_the_steps_lead_to_the_tables_of_the_code(settings: Settings) -> None:
    migrate(settings)
    migrate(settings)
    database = create_database(settings.database_url)
    with database.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": lambda _o, name, kind, *_: kind != "table" or name in known},
        )
        known = set(metadata.tables)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == latest_version()
    names = set(sa.inspect(database).get_table_names())
    assert {"jobs", "workflow_status", "dbos_migrations"} <= names
    database.dispose()


def test_a_newer_database_is_refused_and_left_alone(settings: Settings) -> None:
    migrate(settings)
    database = create_database(settings.database_url)
    with writing(database) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseVersionError, match="newer version"):
        migrate(settings)
    with database.connect() as connection:
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    assert version == "9999"
    database.dispose()


def test_a_damaged_database_is_named_and_not_replaced(settings: Settings) -> None:
    settings.data_dir.mkdir()
    path = settings.data_dir / "secateur.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(DatabaseVersionError, match=r"secateur\.db is damaged"):
        migrate(settings)
    assert path.read_bytes().startswith(b"this is no")


def test_a_migration_that_fails_leaves_the_old_schema(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.migrations import upgrade

    settings.data_dir.mkdir()
    database = create_database(settings.database_url)

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE idempotency" in statement:
            raise RuntimeError(statement)

    sa.event.listen(database, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError):
        upgrade(database)
    assert sa.inspect(database).get_table_names() == []
    database.dispose()
