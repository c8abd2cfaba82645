"""The job engine in memory: for tests and for reading what the port promises; nothing is durable.

It keeps the port's rules that matter to callers: a submission counts only once its transaction has
committed, finished stages are not run again, a job that is running when the worker leaves stays
taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from service.engine.port import EngineStatus, JobWork

_LOOK_SECONDS = 0.01


@dataclass
class _Entry:
    tag: int
    status: EngineStatus = EngineStatus.QUEUED
    executor: str = ""
    finished: set[str] = field(default_factory=set)


class MemoryEngine:
    """The port's methods over a dictionary."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._running: dict[str, asyncio.Task[bool]] = {}

    def submit(self, connection: sa.Connection, job_id: str, *, tag: int) -> None:
        """See the port."""

        def commit(_connection: sa.Connection) -> None:
            self._entries.setdefault(job_id, _Entry(tag))

        sa.event.listen(connection, "commit", commit, once=True)

    def cancel(self, job_id: str) -> None:
        """See the port."""
        entry = self._entries.get(job_id)
        if entry is None or entry.status is EngineStatus.ENDED:
            return
        entry.status = EngineStatus.STOPPED
        task = self._running.get(job_id)
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def resume(self, job_ids: Sequence[str]) -> None:
        """See the port."""
        for job_id in job_ids:
            entry = self._entries[job_id]
            if entry.status is not EngineStatus.ENDED:
                entry.status, entry.executor = EngineStatus.QUEUED, ""

    def status(self, job_id: str) -> EngineStatus:
        """See the port."""
        entry = self._entries.get(job_id)
        return EngineStatus.UNKNOWN if entry is None else entry.status

    def held(self) -> Mapping[str, Sequence[str]]:
        """See the port."""
        jobs_of: dict[str, list[str]] = {}
        for job_id, entry in self._entries.items():
            if entry.status is EngineStatus.RUNNING:
                jobs_of.setdefault(entry.executor, []).append(job_id)
        return jobs_of

    def forget(self, job_id: str) -> None:
        """See the port."""
        self._entries.pop(job_id, None)

    async def run_worker(
        self, executor_id: str, work: JobWork, until: Callable[[], Awaitable[None]]
    ) -> None:
        """See the port."""
        self.resume(self.held().get(executor_id, ()))  # those of our predecessor
        loop = asyncio.create_task(self._work(executor_id, work))
        try:
            await until()
        finally:
            loop.cancel()
            await asyncio.wait({loop})

    async def _work(self, executor_id: str, work: JobWork) -> None:
        while True:
            queued = [
                (entry.tag, job_id)
                for job_id, entry in self._entries.items()
                if entry.status is EngineStatus.QUEUED
            ]
            if not queued:
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            _, job_id = min(queued)
            entry = self._entries[job_id]
            entry.status, entry.executor = EngineStatus.RUNNING, executor_id
            await self._run(job_id, entry, work)

    async def _run(self, job_id: str, entry: _Entry, work: JobWork) -> None:
        goes_on = await work.begin(job_id)
        for stage in [name for name in work.stages if name not in entry.finished]:
            if not goes_on or entry.status is EngineStatus.STOPPED:
                break
            goes_on = await self._run_stage(job_id, stage, entry, work)
        if entry.status is EngineStatus.STOPPED:
            await work.stopped(job_id)
        else:
            entry.status = EngineStatus.ENDED

    async def _run_stage(self, job_id: str, stage: str, entry: _Entry, work: JobWork) -> bool:
        task = asyncio.create_task(work.run_stage(job_id, stage))
        self._running[job_id] = task
        try:
            goes_on = await task
        except asyncio.CancelledError:
            if entry.status is not EngineStatus.STOPPED:  # this worker leaves
                task.cancel()
                raise
            return False
        finally:
            del self._running[job_id]
        entry.finished.add(stage)
        return goes_on
