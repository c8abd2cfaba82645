"""Which workers there are, and which of them are alive."""

import socket
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from service.database import reading, writing
from service.executor_lock import ExecutorLocks, process_start
from service.tables import workers


class WorkerRegistry:
    """The table of workers, together with their locks: a worker lives as long as its lock is held.

    The heartbeat is a counter, not a time: the clocks of two hosts may differ.
    """

    def __init__(self, engine: sa.Engine, locks: ExecutorLocks) -> None:
        self._engine = engine
        self._locks = locks

    def register(self, worker_id: str, *, pid: int) -> None:
        """Enter a worker that holds its lock."""
        row = {
            "host": socket.gethostname(),
            "pid": pid,
            "process_start": process_start(pid) or "",
        }
        with writing(self._engine) as connection:
            known = connection.execute(
                sa.update(workers)
                .where(workers.c.id == worker_id)
                .values(**row, beat=workers.c.beat + 1)
            ).rowcount
            if not known:
                connection.execute(sa.insert(workers).values(id=worker_id, beat=1, **row))

    def beat(self, worker_id: str) -> None:
        """Count one heartbeat."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(workers).where(workers.c.id == worker_id).values(beat=workers.c.beat + 1)
            )

    def beats(self) -> Mapping[str, int]:
        """All workers that ever registered, and their counters."""
        with reading(self._engine) as connection:
            return {row.id: row.beat for row in connection.execute(sa.select(workers))}

    def process_of(self, worker_id: str) -> tuple[str, int, str] | None:
        """Host, pid and start time of a worker's process."""
        query = sa.select(workers).where(workers.c.id == worker_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.host, row.pid, row.process_start)

    def live(self) -> tuple[str, ...]:
        """The workers that hold their lock right now."""
        return tuple(name for name in sorted(self.beats()) if self._locks.is_held(name))


def open_registry(engine: sa.Engine, locks_dir: Path) -> WorkerRegistry:
    """The registry of a data folder."""
    return WorkerRegistry(engine, ExecutorLocks(locks_dir))
