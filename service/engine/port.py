"""The port to the job engine: a durable queue that runs one job per worker process.

The engine knows ids only. What a job is, its public status, its attempts and its fence live in the
product's own tables, so that the engine can be replaced. Two implementations: ``dbos_engine`` and
``memory_engine``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import NoReturn, Protocol

from sqlalchemy import Connection


class EngineStatus(StrEnum):
    """What the engine knows about a job."""

    QUEUED = "queued"
    RUNNING = "running"  # a worker holds it, alive or dead
    STOPPED = "stopped"  # cancelled; may be resumed
    ENDED = "ended"  # the work function returned or raised: never runs again
    UNKNOWN = "unknown"


class Stopped(Exception):  # noqa: N818 - not an error: the job was cancelled or paused
    """The engine was told to stop the job that runs here."""


class JobWork(Protocol):
    """What a worker does with a job; handed to :meth:`JobEngine.run_worker`.

    ``begin`` runs at every start and restart. ``stages`` are then run in order through ``run_stage``;
    one that has returned is not run again after a restart. ``run_stage`` returns whether to go on.
    A job that is cancelled in the middle of ``run_stage`` sees :class:`asyncio.CancelledError`.
    """

    stages: Sequence[str]

    async def begin(self, job_id: str) -> bool:
        """Claim the job; False if there is nothing (more) to do."""
        ...

    async def run_stage(self, job_id: str, stage: str) -> bool:
        """Run one stage; False ends the job, whose status has been recorded."""
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

    def run_worker(
        self, executor_id: str, work: JobWork, until: Callable[[], Awaitable[None]]
    ) -> NoReturn:
        """Work on jobs, one at a time, until ``until()`` returns; then leave the process (exit 0).

        The job that runs at that moment stays taken, so that a restart or a peer continues it.
        """
        ...
