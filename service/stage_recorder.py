"""From a stage's lines to the job's row and events, a few times per second.

Reading never waits for the database: lines are kept until it answers, and of the progress lines
only the newest.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from service.errors import UnavailableError
from service.run_store import RunStore

_FLUSH_SECONDS = 0.25
_LONGEST_PAUSE = 10.0


class StageRecorder:
    """Collects the lines of one start of a job.

    Args:
        runs: Where they go.
        job_id: The job.
        fence: Number of the start.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        runs: RunStore,
        job_id: str,
        fence: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs = runs
        self._job_id = job_id
        self._fence = fence
        self._clock = clock
        self._lines: list[tuple[str, Mapping[str, Any]]] = []
        self._first: tuple[Any, float, float] | None = None  # stage, fraction, time

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line of the protocol."""
        kind = line["kind"]
        data = {name: value for name, value in line.items() if name not in ("kind", "seq")}
        if kind == "progress":
            data.update(self._remaining(data))
            self._lines = [kept for kept in self._lines if kept[0] != "progress"]
        self._lines.append((kind, data))

    async def flush(self) -> None:
        """Write what was collected, however long the database takes to answer.

        Raises:
            FencedError: Another worker has taken the job over.
        """
        pause = _FLUSH_SECONDS
        while self._lines:
            batch, self._lines = self._lines, []
            try:
                await asyncio.to_thread(self._runs.record, self._job_id, self._fence, batch)
            except UnavailableError:
                self._lines = [*batch, *self._lines]
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def run(self) -> None:
        """Flush again and again, until cancelled.

        Raises:
            FencedError: Another worker has taken the job over.
        """
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self.flush()

    def _remaining(self, data: Mapping[str, Any]) -> dict[str, float]:
        """Seconds that the stage will still take, if it goes on as it has since its first line."""
        fraction = data.get("fraction")
        if not isinstance(fraction, (int, float)):
            return {}
        now = self._clock()
        if self._first is None or self._first[0] != data.get("stage"):
            self._first = (data.get("stage"), fraction, now)
        _, first_fraction, first_time = self._first
        if fraction <= first_fraction:
            return {}
        speed = (fraction - first_fraction) / max(now - first_time, 1e-6)
        return {"eta_seconds": round((1 - fraction) / speed, 1)}
