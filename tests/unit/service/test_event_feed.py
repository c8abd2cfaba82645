"""Waiting for jobs: nothing is lost, nothing comes twice, and one look serves all."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import OperationalError

from service.errors import NotFoundError
from service.event_feed import EventFeed
from service.jobs import Job, JobEvent, JobSpec, JobStatus, ModelReference

LOCKED = OperationalError("SELECT", {}, Exception("locked"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = JobSpec(
    model=ModelReference(name="m", key="own_a/k", sha256="0", bytes=1),
    dataset_uri="https://h/x",
    target={"macs": 0.5},
)


class FakeStore:
    """One job in memory, that the test moves on."""

    def __init__(self) -> None:
        self.job: Job | None = Job(
            id="job_1", owner="own_a", status=JobStatus.RUNNING, spec=SPEC, created_at=NOW
        )
        self.log: list[JobEvent] = []
        self.looks = 0
        self.broken = 0

    def add(self, count: int) -> None:
        for _ in range(count):
            self.log.append(JobEvent(seq=len(self.log) + 1, kind="event", at=NOW, data={}))

    def end(self) -> None:
        assert self.job is not None
        self.job = replace(self.job, status=JobStatus.SUCCEEDED)

    def get(self, owner: str, job_id: str) -> Job:
        self.looks += 1
        if self.broken:
            self.broken -= 1
            raise LOCKED
        if self.job is None or owner != "own_a":
            raise NotFoundError
        return self.job

    def events(self, owner: str, job_id: str, *, after: int, limit: int) -> Sequence[JobEvent]:
        if self.job is None:
            raise NotFoundError
        return [event for event in self.log if event.seq > after][:limit]


class Feed(EventFeed):
    def __init__(self, store: FakeStore, *, tick: float = 5.0) -> None:
        super().__init__(store, period=0.01, tick=tick)  # type: ignore[arg-type]


async def collect(feed: EventFeed, after: int = 0, *, slow: bool = False) -> list[int]:
    seen = []
    async for event in feed.follow("own_a", "job_1", after=after):
        if event is not None:
            seen.append(event.seq)
        if slow:
            await asyncio.sleep(0)
    return seen


def test_events_of_a_finished_job_come_at_once() -> None:
    store = FakeStore()
    store.add(450)  # more than two batches
    store.end()
    assert asyncio.run(collect(Feed(store))) == list(range(1, 451))
    assert asyncio.run(collect(Feed(store), 449)) == [450]
    assert asyncio.run(collect(Feed(store), 999)) == []


def test_several_listeners_get_everything_once_whenever_they_come() -> None:
    async def run() -> list[list[int]]:
        store = FakeStore()
        feed = Feed(store)
        store.add(5)
        tasks = [asyncio.create_task(collect(feed, after)) for after in (3, 0, 4)]
        for step in range(20):
            await asyncio.sleep(0.01)
            store.add(70)
            if step == 10:
                tasks.append(asyncio.create_task(collect(feed, 0, slow=True)))
        store.end()
        return await asyncio.gather(*tasks)

    seen = asyncio.run(run())
    total = 5 + 20 * 70
    assert seen[0] == list(range(4, total + 1))
    assert seen[1] == list(range(1, total + 1))
    assert seen[2] == list(range(5, total + 1))
    assert seen[3] == list(range(1, total + 1))


def test_many_listeners_cost_one_look() -> None:
    async def run() -> int:
        store = FakeStore()
        feed = Feed(store)
        tasks = [asyncio.create_task(collect(feed)) for _ in range(50)]
        await asyncio.sleep(0.2)
        store.end()
        await asyncio.gather(*tasks)
        assert feed._watches == {}
        return store.looks

    assert asyncio.run(run()) < 50


def test_a_quiet_job_gives_ticks() -> None:
    async def run() -> object:
        async for event in Feed(FakeStore(), tick=0.05).follow("own_a", "job_1", after=0):
            return event
        return "ended"

    assert asyncio.run(run()) is None


def test_a_busy_database_does_not_end_a_stream() -> None:
    store = FakeStore()
    store.broken = 3
    store.add(2)
    store.end()
    assert asyncio.run(collect(Feed(store))) == [1, 2]


def test_a_bug_ends_the_stream_with_its_error() -> None:
    store = FakeStore()

    def fail(owner: str, job_id: str) -> Job:
        raise KeyError(job_id)

    store.get = fail  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        asyncio.run(collect(Feed(store)))


def test_a_deleted_job_ends_the_stream() -> None:
    async def run() -> list[int]:
        store = FakeStore()
        store.add(1)
        task = asyncio.create_task(collect(Feed(store)))
        await asyncio.sleep(0.1)
        store.job = None
        return await task

    assert asyncio.run(run()) == [1]


def test_the_end_of_the_service_ends_streams_and_waits() -> None:
    async def run() -> tuple[list[int], Job]:
        store = FakeStore()
        assert store.job is not None
        feed = Feed(store)
        stream = asyncio.create_task(collect(feed))
        wait = asyncio.create_task(feed.until_changed(store.job, seconds=60))
        await asyncio.sleep(0.05)
        feed.stopping.set()
        return await stream, await wait

    seen, job = asyncio.run(run())
    assert seen == []
    assert job.status is JobStatus.RUNNING


def test_waiting_for_a_change() -> None:
    async def run() -> list[JobStatus]:
        store = FakeStore()
        feed = Feed(store)
        before = store.job
        assert before is not None
        same = await feed.until_changed(before, seconds=0.05)
        store.end()
        changed = await feed.until_changed(before, seconds=60)
        at_once = await feed.until_changed(changed, seconds=60)
        store.job = None
        with pytest.raises(NotFoundError):
            await feed.until_changed(before, seconds=60)
        return [same.status, changed.status, at_once.status]

    assert asyncio.run(run()) == [JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.SUCCEEDED]
