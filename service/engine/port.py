"""The port to the job engine: a durable queue that runs one job per worker process.

The engine knows ids only. What a job is, its public status, its attempts and its fence live in the
product's own tables, so that the engine can be replaced. Two implementations: ``dbos_engine`` and
``memory_engine``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from sqlalchemy import Connection


class EngineStatus(StrEnum):
    """What the engine knows about a job."""

    QUEUED = "queued"
    RUNNING = "running"  # a worker holds it, alive or dead
    STOPPED = "stopped"  # cancelled; may be resumed
    ENDED = "ended"  # the work function returned or raised: never runs again
    UNKNOWN = "unknown"


class JobWork(Protocol):
    """What a worker does with a job; handed to :meth:`JobEngine.run_worker`.

    1. ``begin`` runs at every start and restart.
    2. ``stages`` are then run in order; one that has returned is not run again after a restart.
    3. A job that is stopped in the middle of a stage sees :class:`asyncio.CancelledError` there.
    4. ``stopped`` runs after that, and when the job is stopped between two stages.
    """

    @property
    def stages(self) -> Sequence[str]:
        """Names of the stages, in order."""
        ...

    async def begin(self, job_id: str) -> bool:
        """Claim the job; False if there is nothing (more) to do."""
        ...

    async def run_stage(self, job_id: str, stage: str) -> bool:
        """Run one stage; False ends the job, whose status has been recorded."""
        ...

    async def stopped(self, job_id: str) -> None:
        """Record that the job was stopped; idempotent."""
        ...


class JobEngine(Protocol):
    """A durable queue of job ids."""

    def submit(self, connection: Connection, job_id: str, *, tag: int) -> None:
        """Queue a job inside the caller's transaction; a lower ``tag`` starts earlier."""
        ...

    def cancel(self, job_id: str) -> None:
        """Take a job out of the queue, or stop it where it runs; idempotent."""
        ...

    def resume(self, job_ids: Sequence[str]) -> None:
        """Queue stopped or orphaned jobs again; idempotent. It also undoes a cancel."""
        ...

    def status(self, job_id: str) -> EngineStatus:
        """What the engine knows about a job."""
        ...

    def held(self) -> Mapping[str, Sequence[str]]:
        """The jobs each executor has taken, alive or dead: executor id -> job ids."""
        ...

    def forget(self, job_id: str) -> None:
        """Drop the engine's record of a job that has ended; idempotent."""
        ...

    async def run_worker(
        self, executor_id: str, work: JobWork, until: Callable[[], Awaitable[None]]
    ) -> None:
        """Work on jobs, one at a time, until ``until()`` returns.

        The caller then leaves the process at once. The job that runs at that moment stays taken,
        so that a restart or a peer continues it.
        """
        ...
