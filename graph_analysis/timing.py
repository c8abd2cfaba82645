"""Budgets of measured time: what remains is cut and run, and a model says what to cut next.

Measuring is somebody else's business and comes in as a callable; here a measured share is a number
with a spread. Few cuts are measured: some of different size once, which the model is fitted to, and
a handful at the end of each selection.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import product

import numpy as np
import numpy.typing as npt

from graph_analysis.errors import TargetUnreachableError
from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution
from graph_analysis.solving import (
    Quantity,
    Saliency,
    Selection,
    check_ratio,
    rounded_up,
    structures_first,
)
from graph_analysis.time_model import TimeModel, Workload

_TOLERANCE = 0.01  # of the original's time
_MOST_CUTS = 12  # that one selection measures
_REFITS = 6  # of these, at most, before the model is taken as it is
_CALIBRATION = 0.5  # share of MACs, and of parameters, that the first cuts leave
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

    def confirmed(self, solution: Solution) -> MeasuredShare:
        """The same, measured once more: what is chosen for being short by chance is not chosen."""
        first, key = self.of(solution), digest_of(solution) + "/confirmed"
        if key not in self.known:
            again = self.measure(solution)
            self.known[key] = MeasuredShare(
                median=(first.median + again.median) / 2,
                low=min(first.low, again.low),
                high=max(first.high, again.high),
                rounds=first.rounds + again.rounds,
            )
            self.say(f"and {again.median:.3f} when measured again")
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
            InputError: ``target_ratio`` is not between 0 and 1.
            TargetUnreachableError: Says what can be reached, to the upper end of its spread.
        """
        check_ratio(target_ratio)
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

        The model says what to cut, the cut is measured, and the model is fitted to that as well;
        where that is not enough, what is aimed at moves between cuts that took too long and cuts
        that did not.

        Args:
            saliency: Group id -> of every unit.
            target_ratio: Share of the original's time that may remain, judged by the median.
            removed: Group id -> units that are removed already.

        Raises:
            TargetUnreachableError: Even removing all that may go takes longer.
        """
        model, measured = self.model, dict[str, Solution]()
        best: tuple[float, Solution] | None = None
        bracket, aim = Bracket(), target_ratio - _TOLERANCE / 2
        for cut in range(_MOST_CUTS):
            solution = self._aimed(model, saliency, aim, removed)
            is_new = digest_of(solution) not in measured
            measured[digest_of(solution)] = solution
            share = self.of(solution).median
            if share <= target_ratio and (best is None or share > best[0]):
                share = self.confirmed(solution).median
            if share <= target_ratio and (best is None or share > best[0]):
                best = share, solution
            if best is not None and best[0] >= target_ratio - _TOLERANCE:
                break
            if is_new and cut < _REFITS:
                model = self._refitted(measured.values())
            else:
                bracket = bracket.with_cut(aim, share, target_ratio)
                aim = bracket.between(target_ratio - _TOLERANCE / 2)
        if best is not None:
            return best[1]
        solution = self._aimed(model, saliency, 0.0, removed)
        if self.of(solution).median > target_ratio:
            raise self._missed(target_ratio, self.of(solution))
        return solution

    def on_the_way(
        self,
        saliency: Saliency,
        target_ratio: float,
        now_ratio: float,
        *,
        removed: Mapping[str, Sequence[int]],
    ) -> Solution:
        """Go so far towards a target; as predicted, nothing is measured.

        Args:
            saliency: Group id -> of every unit.
            target_ratio: Share of the original's time that may remain in the end.
            now_ratio: Share that may remain now.
            removed: Group id -> units that are removed already.
        """
        selection = self.selection(removed)
        try:
            selection.advance(saliency, target_ratio, now_ratio=now_ratio)
        except TargetUnreachableError as error:  # predicted only: the end is measured
            selection = self.selection(removed)
            selection.advance(saliency, max(now_ratio, error.reachable_ratio))
        return selection.solution()

    def _refitted(self, more: Collection[Solution]) -> TimeModel:
        """The model, fitted to these cuts as well; they are near to what is looked for."""
        workload = self.model.workload
        cuts = [*self._calibration(), *more, *more]
        works = [workload.of(solution) for solution in cuts]
        return TimeModel.fitted(workload, works, [self.of(one).median for one in cuts])

    def _missed(self, target_ratio: float, share: MeasuredShare) -> TargetUnreachableError:
        message = (
            f"a target of {target_ratio:.3g} of the measured latency was not met: with all removed "
            f"that may go {share.median:.3f} remains ({share.low:.3f} to {share.high:.3f})"
        )
        return TargetUnreachableError(message, reachable_ratio=share.high, param="target")

    def selection(self, removed: Mapping[str, Sequence[int]] | None = None) -> Selection:
        """A selection whose costs are predicted times."""
        return self._selection(self.model, removed)

    def _selection(
        self, model: TimeModel, removed: Mapping[str, Sequence[int]] | None
    ) -> Selection:
        analysis = self.analysis
        return Selection(analysis, quantity="latency", removed=removed, time=model.predict)

    def _aimed(
        self,
        model: TimeModel,
        saliency: Saliency,
        aim: float,
        removed: Mapping[str, Sequence[int]] | None,
    ) -> Solution:
        selection = self._selection(model, removed)
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
        """Cuts of different size and kind: everywhere, structures, the first half, the second."""
        return list({digest_of(one): one for one in self._calibrating()}.values())

    def _calibrating(self) -> Iterator[Solution]:
        yield from self._extremes()
        even = _even(self.analysis)
        wholes: tuple[Saliency, ...] = (even, structures_first(self.analysis, even))
        quantities: tuple[Quantity, ...] = ("macs", "parameters")
        for saliency, quantity in product(wholes, quantities):
            selection = Selection(self.analysis, quantity=quantity)
            try:
                selection.advance(saliency, _CALIBRATION)
            except TargetUnreachableError:
                continue
            yield selection.solution()
        keys = [key for key in even if key not in self.analysis.structure_by_id]
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            selection = Selection(self.analysis)
            selection.exhaust({key: even[key] for key in half})
            yield selection.solution()


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """Aims whose cuts took no longer than the target, and longer, with what they took."""

    low: float = 0.0
    low_share: float = 0.0
    high: float = 1.0
    high_share: float = 1.0

    def with_cut(self, aim: float, share: float, target: float) -> "Bracket":
        """The bracket after one more cut."""
        if share <= target:
            return replace(self, low=aim, low_share=share)
        return replace(self, high=aim, high_share=share)

    def between(self, share: float) -> float:
        """The aim where a line through the ends has this share; never too near to either."""
        slope = (self.high_share - self.low_share) / max(self.high - self.low, 1e-12)
        found = self.low + (share - self.low_share) / slope if slope > 0 else 0.0
        margin = _NARROWED * (self.high - self.low)
        return min(max(found, self.low + margin), self.high - margin)


def _even(analysis: Analysis) -> dict[str, npt.NDArray[np.float64]]:
    """Saliencies that thin all groups alike: that of a unit is its rank in its group."""
    return {g.id: (np.arange(g.units) + 1) / g.units for g in analysis.space.groups}


def _orders(analysis: Analysis) -> list[Saliency]:
    ones = {group.id: np.ones(group.units) for group in analysis.space.groups}
    return [structures_first(analysis, ones), ones]


def digest_of(solution: Solution) -> str:
    """What a solution is known by."""
    return sha256(solution.to_json().encode()).hexdigest()
