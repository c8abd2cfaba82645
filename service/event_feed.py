"""Waiting for jobs to change: one look at the database for all who watch the same job.

Streams and long polls wait here. A task per watched job reads its status and its new events twice a
second and wakes everybody up; it ends with the last watcher. Whoever is too far behind reads from
the store, so nothing is lost however slow a client is.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from anyio import to_thread
from sqlalchemy.exc import OperationalError

from service.errors import NotFoundError, UnavailableError
from service.job_store import JobStore
from service.jobs import Job, JobEvent

POLL_SECONDS = 0.5
TICK_SECONDS = 10.0
_BATCH = 200
_RECENT = 1000  # events kept per watched job


class _Watch:
    """What is known about one job, and the news for those who wait."""

    def __init__(self) -> None:
        self.watchers = 0
        self.job: Job | None = None
        self.known = False  # False: not looked yet; True and job None: deleted
        self.start: int | None = None  # recent holds all events after this one
        self.recent: deque[JobEvent] = deque()
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def last_seq(self) -> int | None:
        """The newest event that was read, if events are wanted at all."""
        return self.recent[-1].seq if self.recent else self.start

    @property
    def is_over(self) -> bool:
        """Whether nothing will ever happen again."""
        return self.known and (self.job is None or self.job.is_terminal)

    def events_after(self, seq: int) -> list[JobEvent] | None:
        """Events after ``seq`` from memory, or None if not all of them are there."""
        if self.start is None or seq < self.start:
            return None
        return [event for event in self.recent if event.seq > seq]

    def want_events(self, seq: int) -> None:
        """Make sure that everything after ``seq`` is read."""
        if self.start is None or seq < self.start:
            self.start = seq
            self.recent.clear()

    def add_events(self, events: Sequence[JobEvent]) -> None:
        """Take in new events."""
        self.recent.extend(events)
        while len(self.recent) > _RECENT:
            self.start = self.recent.popleft().seq
        if events:
            self.wake()

    def set_job(self, job: Job | None) -> None:
        """Take in the job's state."""
        if not self.known or job != self.job:
            self.job, self.known = job, True
            self.wake()

    def wake(self) -> None:
        """Let every watcher look again."""
        self.changed.set()
        self.changed = asyncio.Event()


class EventFeed:
    """See the module.

    Args:
        store: Where jobs are.
        period: Seconds between two looks at a job.
        tick: Longest silence of :meth:`follow` in seconds.
    """

    def __init__(
        self, store: JobStore, *, period: float = POLL_SECONDS, tick: float = TICK_SECONDS
    ) -> None:
        self._store = store
        self._period = period
        self._tick = tick
        self._watches: dict[tuple[str, str], _Watch] = {}
        self.stopping = asyncio.Event()  # set when the service shuts down

    async def follow(
        self, owner: str, job_id: str, *, after: int
    ) -> AsyncIterator[JobEvent | None]:
        """Events after ``after`` as they happen; ends with the job, or when the service stops.

        Yields None when nothing has happened for a while, so that the caller can look around.
        """
        async with self._watching(owner, job_id) as watch:
            watch.want_events(after)
            while not self.stopping.is_set():
                changed, is_over = watch.changed, watch.is_over
                events: Sequence[JobEvent] | None = watch.events_after(after)
                if events is None or (is_over and not events):
                    events = await self._missed(owner, job_id, after)
                for event in events:
                    after = event.seq
                    yield event
                if not events:
                    if is_over:
                        return
                    if not await self._wait(watch, changed, self._tick):
                        yield None

    async def until_changed(self, job: Job, *, seconds: float) -> Job:
        """The job, once its status differs from that of ``job``, or the time is up.

        Raises:
            NotFoundError: It was deleted meanwhile.
        """
        if job.is_terminal:
            return job
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        async with self._watching(job.owner, job.id) as watch:
            while not self.stopping.is_set() and clock() < end:
                changed = watch.changed
                if watch.known and (watch.job is None or watch.job.status is not job.status):
                    break
                await self._wait(watch, changed, end - clock())
        return await to_thread.run_sync(self._store.get, job.owner, job.id)

    @asynccontextmanager
    async def _watching(self, owner: str, job_id: str) -> AsyncIterator[_Watch]:
        key = (owner, job_id)
        watch = self._watches.setdefault(key, _Watch())
        watch.watchers += 1
        if watch.task is None:
            watch.task = asyncio.create_task(self._poll(owner, job_id, watch))
            watch.task.add_done_callback(lambda _: watch.wake())
        try:
            yield watch
        finally:
            watch.watchers -= 1
            if watch.watchers == 0:
                watch.task.cancel()
                del self._watches[key]

    async def _poll(self, owner: str, job_id: str, watch: _Watch) -> None:
        while not watch.is_over:
            try:
                job = await to_thread.run_sync(self._store.get, owner, job_id)
                seq = watch.last_seq
                events = [] if seq is None else await self._events(owner, job_id, seq)
            except NotFoundError:
                watch.set_job(None)
            except (OperationalError, UnavailableError):
                pass  # a busy database is not the end of a stream; look again
            else:
                if seq == watch.last_seq:  # else somebody asked for older events meanwhile
                    watch.add_events(events)
                if len(events) == _BATCH:
                    continue  # the status comes after the events that led to it
                watch.set_job(job)
            await asyncio.sleep(self._period)

    async def _missed(self, owner: str, job_id: str, after: int) -> Sequence[JobEvent]:
        try:
            return await self._events(owner, job_id, after)
        except NotFoundError:  # deleted a moment ago
            return []

    async def _events(self, owner: str, job_id: str, after: int) -> Sequence[JobEvent]:
        read = partial(self._store.events, owner, job_id, after=after, limit=_BATCH)
        return await to_thread.run_sync(read)

    async def _wait(self, watch: _Watch, changed: asyncio.Event, seconds: float) -> bool:
        """Wait for news or the end of the service; False if neither came in time."""
        assert watch.task is not None
        if watch.task.done() and not watch.is_over:
            watch.task.result()  # raises what ended it
        waits = [asyncio.create_task(event.wait()) for event in (changed, self.stopping)]
        try:
            done, _ = await asyncio.wait(
                waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()
        return bool(done)
