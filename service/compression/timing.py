"""Budgets of latency: how the stages of a job cut a model, run it and remember what it took."""

import json
import os
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import asdict
from pathlib import Path

from exporters.measured_share import ShareMeter
from exporters.surgeon import shrink
from graph_analysis.timing import MeasuredShare, Timing
from service.compression.reporting import Report, say
from service.compression.run_directory import RunDirectory
from service.compression.subject import Subject


def timing_of(
    subject: Subject, run: RunDirectory, report: Report, alive: Callable[[], None] | None = None
) -> Timing | None:
    """What measures the cuts of a job, if its budget is one of latency.

    What was measured is kept in ``run.shares``, so a stage that runs again decides as before.
    """
    if subject.recipe.target[0] != "latency":
        return None
    return Timing(
        analysis=subject.analysis,
        measure=lambda solution: meter_of(subject, alive).of(shrink(subject.analysis, solution)),
        known=KnownShares(run.shares),
        say=lambda text: say(report, "latency-measured", text),
    )


def meter_of(subject: Subject, alive: Callable[[], None] | None = None) -> ShareMeter:
    """Measures against the original, with the threads and the batch of the recipe."""
    recipe = subject.recipe
    return ShareMeter(
        subject.model,
        shapes=subject.shapes,
        batch=recipe.latency_batch,
        threads=recipe.latency_threads,
        alive=alive,
    )


class KnownShares(MutableMapping[str, MeasuredShare]):
    """Measured shares in a file that is whole at every moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shares: dict[str, MeasuredShare] = {}
        if path.exists():
            found = json.loads(path.read_text())
            self._shares = {key: MeasuredShare(**values) for key, values in found.items()}

    def __getitem__(self, key: str) -> MeasuredShare:
        return self._shares[key]

    def __setitem__(self, key: str, share: MeasuredShare) -> None:
        self._shares[key] = share
        self._write()

    def __delitem__(self, key: str) -> None:
        del self._shares[key]
        self._write()

    def __iter__(self) -> Iterator[str]:
        return iter(self._shares)

    def __len__(self) -> int:
        return len(self._shares)

    def _write(self) -> None:
        values = {key: asdict(share) for key, share in self._shares.items()}
        draft = self._path.with_suffix(".new")
        with draft.open("w") as file:
            file.write(json.dumps(values))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
