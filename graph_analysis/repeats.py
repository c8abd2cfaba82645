"""Runs of the same steps in a sequence: what a picture shows once with "x6" beside it."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_PERIOD_MAX = 256
_TRIED_MAX = 256  # candidates for one run


@dataclass(frozen=True, kw_only=True)
class Run:
    """``times`` repetitions of ``period`` steps, from ``start`` on."""

    start: int
    period: int
    times: int

    @property
    def stop(self) -> int:
        """First step behind the run."""
        return self.start + self.period * self.times

    @property
    def saved(self) -> int:
        """Steps that need not be shown."""
        return self.period * (self.times - 1)

    @property
    def worth(self) -> float:
        """Steps saved, the more the oftener: six times a block says more than twice a stage."""
        return self.saved * (self.times - 1) / self.times


def runs_of(
    steps: Sequence[Hashable],
    fit: Callable[[Run], Run | None] | None = None,
    seams: Sequence[int] | None = None,
) -> list[Run]:
    """Disjoint runs in order: the one worth most, then the same left and right of it.

    Args:
        steps: The sequence.
        fit: The part of a run that may be folded, or None; all of it without ``fit``.
        seams: How bad it is to begin a repetition at each step; a run that can be shifted begins
            at the best.

    Example:
        >>> [(run.start, run.period, run.times) for run in runs_of("sabcabcabch")]
        [(1, 3, 3)]
    """
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(step, len(numbers)) for step in steps], np.int64)
    costs = np.zeros(len(codes), np.int64) if seams is None else np.asarray(seams, np.int64)
    found: list[Run] = []
    stack = [(0, len(codes))]
    while stack:
        low, high = stack.pop()
        best = _best(_candidates(codes[low:high], costs[low:high], low), fit)
        if best is not None and best.worth >= 1:
            found.append(best)
            stack += [(low, best.start), (best.stop, high)]
    return sorted(found, key=lambda run: run.start)


def _best(candidates: Iterable[Run], fit: Callable[[Run], Run | None] | None) -> Run | None:
    order = sorted(candidates, key=lambda run: (-run.worth, run.period, run.start))
    best: Run | None = None
    for run in order[:_TRIED_MAX]:
        if best is not None and best.worth >= run.worth:
            break
        found = fit(run) if fit else run
        if found is not None and (best is None or found.worth > best.worth):
            best = found
    return best


def _candidates(codes: Ints, seams: Ints, offset: int) -> Iterator[Run]:
    for period in range(1, min(_PERIOD_MAX, len(codes) // 2) + 1):
        same = np.concatenate(([False], codes[:-period] == codes[period:], [False]))
        edges = np.flatnonzero(np.diff(same.astype(np.int8)))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            times, slack = 1 + (stop - start) // period, (stop - start) % period
            if times > 1:
                start += int(np.argmin(seams[start : start + slack + 1]))
                yield Run(start=offset + start, period=period, times=times)
