"""What only DBOS could get wrong: its serializer, its log, its migrations."""

import json
import logging
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import error as dbos_error

from service.database import create_database, writing
from service.engine.dbos_engine import DbosEngine, _NotCancels, migrate_engine


def test_nothing_is_pickled_and_the_version_is_pinned(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    migrate_engine(url)
    migrate_engine(url)
    database = create_database(url)
    with writing(database) as connection:
        DbosEngine(database).submit(connection, "job_1", tag=7)
    with database.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM workflow_status")).mappings().one()
        inputs = connection.execute(sa.text("SELECT inputs FROM workflow_input")).scalar_one()
    assert row["serialization"] == "portable_json"
    assert json.loads(inputs)["positionalArgs"] == ["job_1"]
    assert (row["application_version"], row["queue_name"], row["priority"]) == ("wf-1", "gpu", 7)
    database.dispose()


@pytest.mark.parametrize(
    ("text", "error", "is_kept"),
    [
        ("Exception in the queue", None, True),
        ("Exception", RuntimeError("x"), True),
        ("Exception", dbos_error.DBOSAwaitedWorkflowCancelledError("job_1"), False),
        ("Workflow job_1 was cancelled during execution.", None, False),
        ("Asyncio task cancelled for workflow", None, False),
    ],
)
def test_a_cancel_is_no_error_in_the_log(
    text: str, error: BaseException | None, is_kept: bool
) -> None:
    info = None if error is None else (type(error), error, None)
    record = logging.LogRecord("dbos", logging.ERROR, "", 0, text, (), info)
    assert _NotCancels().filter(record) is is_kept
