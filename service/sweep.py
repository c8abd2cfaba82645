"""Looking for workers that died or froze, for jobs they left, and for what was left undone.

The job engine does not notice a dead host. Whoever can take a worker's lock knows that nobody alive
works under that name, and queues its jobs again; a worker that holds its lock but no longer counts
its heartbeat is frozen and is killed, so that the next pass finds the lock free.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.engine.port import JobEngine
from service.executor_lock import ExecutorLocks, evict
from service.run_store import RunStore
from service.work_folders import WorkFolders
from service.worker_registry import WorkerRegistry


@dataclass
class BeatWatch:
    """For how long each worker's counter has stood still, by this process's own clock."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def observe(self, beats: Mapping[str, int]) -> None:
        """Note the counters of one pass."""
        now = self.clock()
        for worker, beat in beats.items():
            known = self._seen.get(worker)
            if known is None or known[0] != beat:
                self._seen[worker] = (beat, now)

    def still_for(self, worker: str) -> float:
        """Seconds since the counter was first seen at its present value; 0 for a stranger."""
        known = self._seen.get(worker)
        return 0.0 if known is None else self.clock() - known[1]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One worker's look at the others.

    Attributes:
        me: This worker's name; its lock is held by this process.
        engine: The queue.
        runs: The jobs.
        registry: The workers.
        locks: Their locks.
        folders: Work folders of this host.
        lease: Seconds after which a heartbeat that stands still means frozen.
        current: The job that this worker runs.
        watch: Remembers heartbeats between passes.
    """

    me: str
    engine: JobEngine
    runs: RunStore
    registry: WorkerRegistry
    locks: ExecutorLocks
    folders: WorkFolders
    lease: float
    current: Callable[[], str | None]
    watch: BeatWatch = field(default_factory=BeatWatch)

    def run_once(self) -> None:
        """One pass. Our own heartbeat comes first: without it, nobody else is judged.

        Raises:
            UnavailableError: The database does not answer; the pass does not count.
        """
        self.registry.beat(self.me)
        self.watch.observe(self.registry.beats())
        for executor in self.engine.held():
            if executor != self.me:
                self._inherit(executor)
        for job_id, holder in self.runs.to_cancel():
            self._repeat_cancel(job_id, holder)
        self._clean()

    def _inherit(self, executor: str) -> None:
        with self.locks.attempt(executor) as free:
            if free:
                orphans = self.engine.held().get(executor, ())  # again, now under the lock
                self.engine.resume(sorted(self.runs.to_resume(orphans)))
                return
        if self.watch.still_for(executor) > self.lease:
            process = self.registry.process_of(executor)
            if process is not None:
                evict(*process)

    def _repeat_cancel(self, job_id: str, executor: str | None) -> None:
        """Cancel again what a live worker runs; end what nobody does."""
        if job_id == self.current():
            self.engine.cancel(job_id)
            return
        if executor is None or executor == self.me:
            self._end_cancelled(job_id, executor)
            return
        with self.locks.attempt(executor) as free:
            if free:
                self._end_cancelled(job_id, executor)
            else:
                self.engine.cancel(job_id)

    def _end_cancelled(self, job_id: str, executor: str | None) -> None:
        if self.runs.cancel_abandoned(job_id, executor):
            self.engine.cancel(job_id)

    def _clean(self) -> None:
        """Remove the folders of jobs that have ended or are gone."""
        there = [job_id for job_id in self.folders.jobs() if job_id != self.current()]
        active = self.runs.active_among(there) if there else frozenset()
        for job_id in there:
            if job_id not in active and job_id != self.current():
                self.folders.remove(job_id)
