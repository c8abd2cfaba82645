"""When what happens: the phases of a run, and the factor that brings every chosen unit to 0.

Counts steps only. Step t is the (t+1)-th call of ``H2SPG.step``.

::

    0 ......... b_0 ......... b_1 ... b_(P-1) ....... b_P ......... total
      warm-up        search                  hybrid       converged

At the start of step b_0, ..., b_(P-1) units are chosen; those chosen at b_k are exactly 0 from the
end of step b_(k+1) - 1 on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

MIN_PERIOD = 2  # with 1 the first factor is 0 already: units vanish instead of shrinking


class Phase(StrEnum):
    """Where a run stands."""

    WARM_UP = "warm-up"  # the plain optimizer; saliency is averaged
    SEARCH = "search"  # some units shrink, more are still to be chosen
    HYBRID = "hybrid"  # all units are chosen, the last ones shrink
    CONVERGED = "converged"  # all chosen units are 0; the rest trains on


@dataclass(frozen=True)
class Schedule:
    """The steps at which units are chosen, and the one by which all are 0.

    Attributes:
        boundaries: b_0 < ... < b_P: P decisions and the arrival, at least ``MIN_PERIOD`` apart.
        total: Steps of the whole run.
    """

    boundaries: tuple[int, ...]
    total: int

    def __post_init__(self) -> None:
        """Refuse schedules that would harm the network.

        Raises:
            ValueError: No warm-up before the first decision, a period too short to shrink in, or
                an arrival after the end; lists all of them.
        """
        problems = []
        if len(self.boundaries) < 2:
            problems.append("a schedule needs at least one period (two boundaries)")
        if self.boundaries and self.boundaries[0] < 1:
            problems.append("the first decision needs at least one warm-up step before it")
        if any(end - start < MIN_PERIOD for start, end in pairwise(self.boundaries)):
            problems.append(f"every period needs at least {MIN_PERIOD} steps to shrink units in")
        if self.boundaries and self.total < self.boundaries[-1]:
            problems.append(f"arrival at step {self.boundaries[-1]} lies after the end")
        if problems:
            message = f"schedule {self.boundaries} of {self.total}: {'; '.join(problems)}"
            raise ValueError(message)

    @classmethod
    def regular(cls, *, warm_up: int, periods: int, period_steps: int, total: int) -> "Schedule":
        """Periods of equal length after ``warm_up`` steps.

        Raises:
            ValueError: As on construction.
        """
        boundaries = tuple(warm_up + period * period_steps for period in range(periods + 1))
        return cls(boundaries, total)

    @property
    def periods(self) -> int:
        """P, how often units are chosen."""
        return len(self.boundaries) - 1

    @property
    def arrival(self) -> int:
        """b_P: before this step starts, every chosen unit is exactly 0."""
        return self.boundaries[-1]

    def phase(self, step: int) -> Phase:
        """The phase that ``step`` is part of."""
        if step < self.boundaries[0]:
            return Phase.WARM_UP
        if step < self.boundaries[-2]:
            return Phase.SEARCH
        return Phase.HYBRID if step < self.arrival else Phase.CONVERGED

    def is_decision(self, step: int) -> bool:
        """Whether units are chosen at the start of ``step``."""
        return step in self.boundaries[:-1]

    def fraction(self, step: int) -> float:
        """How much of the budget is decided at the start of ``step``: 1/P, 2/P, ..., 1."""
        return sum(step >= boundary for boundary in self.boundaries[:-1]) / self.periods

    def measures(self, step: int, *, every: int = 1) -> bool:
        """Whether saliency is measured in ``step``, for the decision after it.

        With ``every`` in one of so many steps, counted back from the decision: the last step before
        it always counts.
        """
        ahead = next((boundary for boundary in self.boundaries[:-1] if step < boundary), None)
        return ahead is not None and (ahead - 1 - step) % every == 0

    def decay_factor(self, step: int) -> float:
        """What the chosen units are multiplied by after the update of ``step``.

        (D - t - 1) / (D - t) in the step t = 0..D-1 of a period of D steps: linear, and exactly 0
        at its end (the schedule of HESSO, PAPER.md 1.6). 1 outside the periods.
        """
        for start, end in pairwise(self.boundaries):
            if start <= step < end:
                return (end - step - 1) / (end - step)
        return 1.0

    def arrives(self, step: int) -> bool:
        """Whether the units that shrink are exactly 0 at the end of ``step``."""
        return self.decay_factor(step) == 0.0

    def compressed(self, *, now: int, total: int) -> "Schedule":
        """The same plan in fewer steps: what lies ahead of ``now`` is scaled to end at ``total``.

        The period that runs keeps its start, so nothing that is decided changes; periods never
        get shorter than ``MIN_PERIOD``, and ``total`` grows where that leaves no other way. The
        step ``now`` is still made, so that the run has a last step.
        """
        ratio = max(total - now, 0) / max(self.total - now, 1)
        if ratio >= 1 or now >= self.total:
            return self
        return _rescaled(self, now, ratio)


def _rescaled(schedule: Schedule, now: int, ratio: float) -> Schedule:
    moved: list[int] = []
    for boundary in schedule.boundaries:
        if boundary <= now:
            moved.append(boundary)
            continue
        earliest = max(now + 1, moved[-1] + MIN_PERIOD if moved else 1)
        moved.append(max(earliest, now + int((boundary - now) * ratio)))
    total = max(now + int((schedule.total - now) * ratio), now + 1, moved[-1])
    return Schedule(tuple(moved), total)


def to_numbers(schedule: Schedule) -> list[int]:
    """The schedule as integers, for a checkpoint; ``from_numbers`` reads them."""
    return [schedule.total, *schedule.boundaries]


def from_numbers(numbers: Sequence[int]) -> Schedule:
    """The schedule that ``to_numbers`` wrote."""
    total, *boundaries = numbers
    return Schedule(tuple(boundaries), total)
