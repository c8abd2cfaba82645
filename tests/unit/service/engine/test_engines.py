"""One suite for both job engines: the port's promises."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.database import create_database, writing
from service.engine.dbos_engine import DbosEngine, migrate_engine, stop_dbos
from service.engine.memory_engine import MemoryEngine
from service.engine.port import EngineStatus, JobEngine

PATIENCE = 60.0


class Work:
    """Stages that note what is run; one of them can wait until the test lets it go on."""

    stages = ("first", "second")

    def __init__(self, *, waits_in: str | None = None, last: str | None = None) -> None:
        self.log: list[tuple[str, str]] = []
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self._waits_in = waits_in
        self._last = last

    async def begin(self, job_id: str) -> bool:
        self.log.append(("begin", job_id))
        return True

    async def run_stage(self, job_id: str, stage: str) -> bool:
        self.log.append((stage, job_id))
        if stage == self._waits_in:
            self.reached.set()
            await self.go_on.wait()
        return stage != self._last

    async def stopped(self, job_id: str) -> None:
        self.log.append(("stopped", job_id))


@pytest.fixture(params=["memory", "dbos"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[JobEngine, sa.Engine]]:
    """An engine, and the database whose transactions it takes part in."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    database = create_database(url)
    if request.param == "memory":
        yield MemoryEngine(), database
    else:
        migrate_engine(url)
        yield DbosEngine(database, poll_interval=0.1), database
        stop_dbos()
    database.dispose()


def submit(pair: tuple[JobEngine, sa.Engine], *job_ids: str, tag: int = 1) -> None:
    engine, database = pair
    with writing(database) as connection:
        for job_id in job_ids:
            engine.submit(connection, job_id, tag=tag)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


def run(engine: JobEngine, work: Work, leave_when: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(engine.run_worker("worker-a", work, leave_when))


def test_a_submission_counts_with_its_transaction(pair: tuple[JobEngine, sa.Engine]) -> None:
    engine, database = pair
    submit(pair, "job_1")
    with pytest.raises(ZeroDivisionError), writing(database) as connection:
        engine.submit(connection, "job_2", tag=1)
        _ = 1 / 0
    assert engine.status("job_1") is EngineStatus.QUEUED
    assert engine.status("job_2") is EngineStatus.UNKNOWN
    assert not engine.held()


def test_stages_run_in_order_and_lower_tags_first(pair: tuple[JobEngine, sa.Engine]) -> None:
    engine, _ = pair
    submit(pair, "job_late", tag=9)
    submit(pair, "job_early", tag=2)
    work = Work()
    run(engine, work, lambda: until(lambda: len(work.log) == 6 and not engine.held()))
    assert work.log == [
        (step, job) for job in ("job_early", "job_late") for step in ("begin", "first", "second")
    ]
    assert engine.status("job_early") is EngineStatus.ENDED
    engine.resume(["job_early"])
    assert engine.status("job_early") is EngineStatus.ENDED


def test_a_stage_can_end_the_job(pair: tuple[JobEngine, sa.Engine]) -> None:
    engine, _ = pair
    submit(pair, "job_1")
    work = Work(last="first")
    run(engine, work, lambda: until(lambda: engine.status("job_1") is EngineStatus.ENDED))
    assert work.log == [("begin", "job_1"), ("first", "job_1")]


def test_a_running_job_is_cancelled_where_it_is(pair: tuple[JobEngine, sa.Engine]) -> None:
    engine, _ = pair
    submit(pair, "job_1")
    work = Work(waits_in="first")

    async def cancel() -> None:
        await work.reached.wait()
        assert engine.held() == {"worker-a": ["job_1"]}
        await asyncio.to_thread(engine.cancel, "job_1")
        await until(lambda: ("stopped", "job_1") in work.log)

    run(engine, work, cancel)
    assert work.log == [("begin", "job_1"), ("first", "job_1"), ("stopped", "job_1")]
    assert engine.status("job_1") is EngineStatus.STOPPED


def test_a_cancel_that_meets_the_end_of_a_stage(pair: tuple[JobEngine, sa.Engine]) -> None:
    """The stage is done, but its result has not been recorded yet."""
    engine, _ = pair
    submit(pair, "job_1")

    class CancelledAtTheEnd(Work):
        async def run_stage(self, job_id: str, stage: str) -> bool:
            goes_on = await super().run_stage(job_id, stage)
            engine.cancel(job_id)
            return goes_on

    work = CancelledAtTheEnd()
    run(engine, work, lambda: until(lambda: ("stopped", "job_1") in work.log))
    assert work.log == [("begin", "job_1"), ("first", "job_1"), ("stopped", "job_1")]
    assert engine.status("job_1") is EngineStatus.STOPPED


def test_a_cancelled_job_goes_on_after_a_resume(pair: tuple[JobEngine, sa.Engine]) -> None:
    engine, _ = pair
    submit(pair, "job_1")
    engine.cancel("job_1")
    engine.cancel("job_unknown")
    assert engine.status("job_1") is EngineStatus.STOPPED
    engine.resume([])
    engine.resume(["job_1"])
    assert engine.status("job_1") is EngineStatus.QUEUED


def test_a_job_stays_taken_when_its_worker_leaves(pair: tuple[JobEngine, sa.Engine]) -> None:
    engine, _ = pair
    submit(pair, "job_1")
    work = Work(waits_in="second")
    run(engine, work, work.reached.wait)
    assert engine.status("job_1") is EngineStatus.RUNNING
    assert engine.held() == {"worker-a": ["job_1"]}
    if isinstance(engine, DbosEngine):
        stop_dbos()
    again = Work()
    run(engine, again, lambda: until(lambda: engine.status("job_1") is EngineStatus.ENDED))
    assert again.log == [("begin", "job_1"), ("second", "job_1")]


def test_what_has_ended_can_be_forgotten(pair: tuple[JobEngine, sa.Engine]) -> None:
    engine, _ = pair
    submit(pair, "job_1")
    engine.forget("job_1")
    engine.forget("job_1")
    assert engine.status("job_1") is EngineStatus.UNKNOWN
