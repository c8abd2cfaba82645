"""Budgets of measured time: what remains is cut and run, and a model says what to cut next.

Measuring is somebody else's business and comes in as a callable; here a measured share is a number
with a spread. Few cuts are measured: some of different size once, which the model is fitted to, and
a handful at the end of each selection.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from graph_analysis.errors import TargetUnreachableError
from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution
from graph_analysis.solving import Saliency, Selection, rounded_up, structures_first
from graph_analysis.time_model import TimeModel, Workload

_TOLERANCE = 0.01  # of the original's time
_MOST_CUTS = 10  # that one selection measures
_CALIBRATION = (0.75, 0.5, 0.25)  # shares of MACs, and of parameters, that are measured at first
_NARROWED = 0.02  # of the interval, at least, by every cut that is measured


@dataclass(frozen=True, kw_only=True)
class MeasuredShare:
    """Time of a run of a cut model, as a share of the original's.

    Attributes:
        median: Of the medians of runs that took turns.
        low: Lower end of the interval that holds it with 95 % confidence.
        high: Upper end.
        rounds: Timed turns.
    """

    median: float
    low: float
    high: float
    rounds: int


Measure = Callable[[Solution], MeasuredShare]


@dataclass(kw_only=True)
class Timing:
    """Measured times of cuts of one model, each measured once.

    Attributes:
        analysis: Of the model.
        measure: Cuts, runs and times what a solution leaves.
        known: What was measured already, by digest of the solution; kept, it makes selections
            repeatable.
        say: Told about every new measurement.
    """

    analysis: Analysis
    measure: Measure
    known: MutableMapping[str, MeasuredShare] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None
    _model: TimeModel | None = None

    def of(self, solution: Solution) -> MeasuredShare:
        """The share of a solution; measured if it is not known."""
        key = digest_of(solution)
        if key not in self.known:
            found = self.measure(solution)
            self.known[key] = found
            spread = f"{found.low:.3f} to {found.high:.3f}, {found.rounds} rounds"
            self.say(f"a cut takes {found.median:.3f} of the original's time ({spread})")
        return self.known[key]

    @property
    def model(self) -> TimeModel:
        """Predicts the time of what remains; fitted to the same few cuts always."""
        if self._model is None:
            workload = Workload(self.analysis)
            cuts = self._calibration()
            self._model = TimeModel.fitted(
                workload,
                [workload.of(solution) for solution in cuts],
                [self.of(solution).median for solution in cuts],
            )
        return self._model

    def least(self) -> MeasuredShare:
        """The shortest time that was found for what can remain at least."""
        return min((self.of(one) for one in self._extremes()), key=lambda share: share.median)

    def check(self, target_ratio: float) -> None:
        """Refuse a budget that cannot be met.

        Raises:
            TargetUnreachableError: Says what can be reached, to the upper end of its spread.
        """
        least = self.least()
        if least.median <= target_ratio:
            return
        message = (
            f"a target of {target_ratio:.3g} of the measured latency cannot be reached; at least "
            f"{rounded_up(least.high)} remains under these settings (median {least.median:.3f})"
        )
        raise TargetUnreachableError(message, reachable_ratio=least.high, param="target")

    def select(
        self,
        saliency: Saliency,
        target_ratio: float,
        *,
        removed: Mapping[str, Sequence[int]] | None = None,
    ) -> Solution:
        """The solution that meets a budget of time, from a choice that is there already.

        The model says what to cut for the share that is aimed at, the cut is measured, and the aim
        moves between those that took too long and those that did not.

        Args:
            saliency: Group id -> of every unit.
            target_ratio: Share of the original's time that may remain, judged by the median.
            removed: Group id -> units that are removed already.

        Raises:
            TargetUnreachableError: Even removing all that may go takes longer.
        """
        best: tuple[float, Solution] | None = None
        low, high = 0.0, 1.0
        low_share, high_share = 0.0, 1.0
        aim, seen = target_ratio, set[str]()
        for _ in range(_MOST_CUTS):
            solution = self._aimed(saliency, aim, removed)
            share = self.of(solution).median
            if share <= target_ratio:
                if best is None or share > best[0]:
                    best = share, solution
                low, low_share = aim, share
            else:
                high, high_share = aim, share
            is_met = best is not None and best[0] >= target_ratio - _TOLERANCE
            if is_met or (digest_of(solution) in seen and best is not None):
                break
            seen.add(digest_of(solution))
            aim = _between(low, low_share, high, high_share, target_ratio - _TOLERANCE / 2)
        if best is not None:
            return best[1]
        solution = self._aimed(saliency, 0.0, removed)
        if self.of(solution).median > target_ratio:
            raise self._missed(target_ratio, self.of(solution))
        return solution

    def _missed(self, target_ratio: float, share: MeasuredShare) -> TargetUnreachableError:
        message = (
            f"a target of {target_ratio:.3g} of the measured latency was not met: with all removed "
            f"that may go {share.median:.3f} remains ({share.low:.3f} to {share.high:.3f})"
        )
        return TargetUnreachableError(message, reachable_ratio=share.high, param="target")

    def selection(self, removed: Mapping[str, Sequence[int]] | None = None) -> Selection:
        """A selection whose costs are predicted times."""
        return Selection(
            self.analysis, quantity="latency", removed=removed, time=self.model.predict
        )

    def _aimed(
        self, saliency: Saliency, aim: float, removed: Mapping[str, Sequence[int]] | None
    ) -> Solution:
        selection = self.selection(removed)
        try:
            selection.advance(saliency, aim)
        except TargetUnreachableError:
            selection.exhaust(structures_first(self.analysis, saliency))
        return selection.solution()

    def _extremes(self) -> list[Solution]:
        """Solutions that remove all that may go, costliest structures first."""
        found = []
        for saliency in _orders(self.analysis):
            selection = Selection(self.analysis, removed={})
            selection.exhaust(saliency)
            found.append(selection.solution())
        return list({digest_of(solution): solution for solution in found}.values())

    def _calibration(self) -> list[Solution]:
        """Cuts of different size and kind, and the largest."""
        ones = {group.id: np.ones(group.units) for group in self.analysis.space.groups}
        found = self._extremes()
        for quantity in ("macs", "parameters"):
            for ratio in _CALIBRATION:
                selection = Selection(self.analysis, quantity=quantity)
                try:
                    selection.advance(_even(ones), ratio)
                except TargetUnreachableError:
                    continue
                found.append(selection.solution())
        return list({digest_of(solution): solution for solution in found}.values())


def _even(saliency: Saliency) -> dict[str, npt.NDArray[np.float64]]:
    """Saliencies that thin all groups alike: that of a unit is its rank in its group."""
    return {key: (np.arange(len(v)) + 1) / len(v) for key, v in saliency.items()}


def _orders(analysis: Analysis) -> list[Saliency]:
    ones = {group.id: np.ones(group.units) for group in analysis.space.groups}
    return [structures_first(analysis, ones), ones]


def _between(low: float, low_share: float, high: float, high_share: float, target: float) -> float:
    """Where a line through the two ends meets the target; never too near to either."""
    slope = (high_share - low_share) / max(high - low, 1e-12)
    found = low + (target - low_share) / slope if slope > 0 else (low + high) / 2
    margin = _NARROWED * (high - low)
    return min(max(found, low + margin), high - margin)


def digest_of(solution: Solution) -> str:
    """What a solution is known by."""
    return sha256(solution.to_json().encode()).hexdigest()
