"""Greedy selection under a budget: lowest saliency first, valid at every step.

``Selection`` grows a solution towards a target; ``solve`` is the one-shot use of it without data.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import floor, gcd, inf, log10
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from graph_analysis.counting import Counting, Price, price_of
from graph_analysis.errors import InputError, TargetUnreachableError
from graph_analysis.growth import Candidate, Growth
from graph_analysis.landing import Budget, Landing, smallest
from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import Group
from graph_analysis.solution import Solution

Quantity = Literal["macs", "parameters", "bytes", "latency"]
_COMBINATIONS = (16384, 16384, 1024)  # tried of a small network, each time a budget is missed
_RULED_OUT = 16  # structures that are tried though others rule them out
_FEW_STRUCTURES = 128  # so many, and there is time to try them in orders drawn at random
_RANDOM_ORDERS = 8  # of structures, where those of saliency and worth do not reach the target
Saliency = Mapping[str, npt.NDArray[np.float64]]


class Selection:
    """A growing choice of units; what is removed stays removed.

    Args:
        analysis: The model's analysis.
        quantity: What the budget counts.
        multiple: Kept channels of a node group are a multiple of this where it has more of them; a
            unit of several channels (a head, one of each convolution group) counts as so many.
        min_units: Units that every node group keeps at least.
        removed: Group id -> units to start from.
        time: Predicts the time of a run of what remains; for a budget of latency.
    """

    def __init__(
        self,
        analysis: Analysis,
        *,
        quantity: Quantity = "macs",
        multiple: int | None = None,
        min_units: int | None = None,
        removed: Mapping[str, Sequence[int]] | None = None,
        time: Price | None = None,
    ) -> None:
        self._analysis = analysis
        self._quantity = quantity
        self._price = price_of(analysis, quantity, time)
        self._multiple = multiple or analysis.options.multiple
        self._removed = {key: set(units) for key, units in (removed or {}).items()}
        self._structures = analysis.structure_by_id
        self._step: dict[str, int] = {}  # where kept units are a multiple of something
        self._floor: dict[str, int] = {}
        for group in analysis.space.groups:
            step = self._multiple // gcd(self._multiple, group.channels_per_unit)
            floor = analysis.least(group, min_units)
            self._floor[group.id] = max(floor, step) if group.units > step else floor
            if group.units > step > 1 and group.id not in self._structures:
                self._step[group.id] = step
        self._whole = max(self._cost({}), 1e-300)

    @property
    def remaining_ratio(self) -> float:
        """Share of the quantity that remains (0..1)."""
        return self._cost(self._removed) / self._whole

    def solution(self) -> Solution:
        """The choice so far; units of groups that died with a structure are left out."""
        dead = self._dead(self._removed)
        alive = {k: sorted(v) for k, v in self._removed.items() if k not in dead}
        return Solution.of(self._analysis.space, alive)

    def check(self, target_ratio: float) -> None:
        """Refuse a budget that cannot be met, whatever the saliency will be.

        Raises:
            TargetUnreachableError: As :meth:`advance`.
        """
        ones = {group.id: np.ones(group.units) for group in self._analysis.space.groups}
        self._reaching(ones, target_ratio, by_saliency=not self._structures)

    def advance(
        self, saliency: Saliency, target_ratio: float, *, now_ratio: float | None = None
    ) -> None:
        """Remove units, lowest saliency first, until at most ``target_ratio`` remains.

        Never more remains, and hardly less: within 1 % of the target, where some choice is that
        close, or at least so close that nothing alone could come back (``landing``).

        Args:
            saliency: Group id -> of every unit.
            target_ratio: What may remain in the end.
            now_ratio: Go only as far as this, on the way there: nothing is removed that is not
                part of what the target takes, so a step on the way cannot overshoot the end.

        Raises:
            TargetUnreachableError: Even removing all that may go leaves more.
        """
        growth = self._reaching(saliency, target_ratio)
        budget = self._budget(target_ratio)
        growth, counts = self._met(growth, budget)
        if now_ratio is not None and now_ratio > target_ratio:
            counts = self._on_the_way(growth, counts, self._budget(now_ratio))
        self._removed = growth.choice(counts)

    def exhaust(self, saliency: Saliency) -> None:
        """Remove all that may go, lowest saliency first."""
        growth = self._grown(self._candidates(saliency), {})
        self._removed = growth.prefix(len(growth.order), self._step)

    def _budget(self, ratio: float) -> Budget:
        return Budget(whole=self._whole, ratio=ratio)

    def _reaching(
        self, saliency: Saliency, target_ratio: float, *, by_saliency: bool = True
    ) -> Growth:
        """An order along which the budget can be met: that of the saliency, if at all possible."""
        budget, least = self._budget(target_ratio), inf
        for growth in self._growths(saliency, by_saliency=by_saliency):
            cost = self._least(growth)
            if budget.fits(cost):
                return growth
            least = min(least, cost)
        raise self._unreachable(target_ratio, least / self._whole)

    def _growths(self, saliency: Saliency, *, by_saliency: bool) -> Iterator[Growth]:
        """That of the saliency; then, because one structure may rule out another, others.

        Structures by what they are worth, then in orders drawn at random, always the same.
        """
        if by_saliency:
            yield self._grown(self._candidates(saliency), {})
        if not self._structures:
            return
        few = len(self._structures) <= _FEW_STRUCTURES
        for by in ("macs", "parameters", *range(_RANDOM_ORDERS if few else 0)):
            first = structures_first(self._analysis, saliency, by=by)
            yield self._grown(self._candidates(first), {})

    def _least(self, growth: Growth) -> float:
        return self._counting(growth).cost(growth.counts(len(growth.order), self._step))

    def _met(self, growth: Growth, budget: Budget) -> tuple[Growth, dict[str, int]]:
        """What meets the budget, or comes nearest; with the growth that its counts belong to."""
        best_cost, best = -inf, (growth, dict[str, int]())
        for number, (landing, start) in enumerate(self._landings(growth, budget)):
            counts, cost = landing.land(start)
            if not budget.is_met(cost):
                most = _COMBINATIONS[min(number, len(_COMBINATIONS) - 1)]
                counts, cost = landing.land_exhaustively(counts, most)
            if cost > best_cost:
                best_cost, best = cost, (landing.growth, counts)
            if budget.is_met(cost):
                break
        return best

    def _landings(self, growth: Growth, budget: Budget) -> Iterator[tuple[Landing, dict[str, int]]]:
        """Ways to meet a budget, each with a choice within it; the next if one does not.

        1. The shortest prefix of the order that fits; where it ends in a structure that is more
           than was left of the budget, the order goes on without that one.
        2. The shortest prefix as it is.
        3. The order with a structure first that others ruled out; with all of these first, and
           with all structures first, the most salient before the others.
        """
        found: list[tuple[Landing, dict[str, int]]] = []
        whole = growth
        while (count := self._shortest_prefix(growth, budget)) is not None:
            counting, counts = self._counting(growth), growth.counts(count, self._step)
            found.append((self._landing(growth, counting, budget, count), counts))
            is_met = budget.is_met(counting.cost(counts))
            if is_met or not count or growth.order[count - 1][0] not in self._structures:
                break
            without = [*growth.order[: count - 1], *growth.order[count:]]
            growth = self._grown(without, growth.answers_before(count - 1))
        yield found[-1]
        yield found[0]
        erasable = [entry for entry in whole.order if entry[0] in self._structures]
        refused = [entry for entry in erasable if entry[0] not in whole.units][:_RULED_OUT]
        for ahead in (*([entry] for entry in refused), refused, refused[::-1], erasable[::-1]):
            growth = self._grown([*ahead, *(e for e in whole.order if e not in ahead)], {})
            count = self._shortest_prefix(growth, budget)
            if count is not None:
                counts = growth.counts(count, self._step)
                yield self._landing(growth, self._counting(growth), budget, count), counts

    def _landing(self, growth: Growth, counting: Counting, budget: Budget, count: int) -> Landing:
        return Landing(
            growth=growth,
            step=self._step,
            cost=counting.cost,
            structures=self._structures.keys(),
            budget=budget,
            cut=count,
            worth={key: self._worth(key) for key in growth.units},
            dead=lambda counts: self._dead(growth.choice(counts)),
        )

    def _on_the_way(
        self, growth: Growth, counts: Mapping[str, int], budget: Budget
    ) -> dict[str, int]:
        """The part of ``counts`` that comes first in the order and meets a larger budget."""
        counting = self._counting(growth)

        def part(count: int) -> dict[str, int]:
            prefix = growth.counts(count, self._step)
            return {key: min(goes, counts.get(key, 0)) for key, goes in prefix.items()}

        count = smallest(len(growth.order), lambda n: budget.fits(counting.cost(part(n))))
        return part(count)

    def _unreachable(self, target_ratio: float, best: float) -> TargetUnreachableError:
        message = f"a target of {target_ratio:.3g} of the {self._quantity} cannot be reached"
        message += f"; at least {rounded_up(best)} remains under these settings"
        if self._multiple > 1:
            message += f" (a multiple below {self._multiple} may reach further)"
        return TargetUnreachableError(message, reachable_ratio=best, param="target")

    def _shortest_prefix(self, growth: Growth, budget: Budget) -> int | None:
        """How many candidates bring the cost within the budget; None if all of them do not."""
        counting = self._counting(growth)

        def fits(count: int) -> bool:
            return budget.fits(counting.cost(growth.counts(count, self._step)))

        return smallest(len(growth.order), fits) if fits(len(growth.order)) else None

    def _candidates(self, saliency: Saliency) -> list[Candidate]:
        found = []
        dead = self._dead(self._removed)
        for group in self._analysis.space.groups:
            values = saliency.get(group.id)
            if values is None or group.id in dead or self._is_free(group):
                continue
            taken = self._removed.get(group.id, set())
            found += [
                (float(values[unit]), group.id, unit)
                for unit in range(group.units)
                if unit not in taken
            ]
        return [(key, unit) for _, key, unit in sorted(found)]

    def _is_free(self, group: Group) -> bool:
        """Whether its removal brings no target nearer."""
        return self._quantity != "latency" and self._worth(group.id) == 0

    def _worth(self, key: str) -> float:
        """What one unit costs in the whole model."""
        group = self._analysis.space.group_by_id[key]
        return float(group.macs if self._quantity in ("macs", "latency") else group.parameters)

    def _grown(self, order: Sequence[Candidate], known: Mapping[str, bool]) -> Growth:
        return Growth(self._analysis, self._removed, order, floor=self._floor, known=known)

    def _counting(self, growth: Growth) -> Counting:
        return Counting(self._analysis, growth, self._price)

    def _cost(self, removed: Mapping[str, set[int]]) -> float:
        solution = self._unsorted(removed)
        return self._price(self._analysis.gone(solution), self._analysis.survivors(solution))

    def _dead(self, removed: Mapping[str, set[int]]) -> frozenset[str]:
        return self._analysis.dead(self._unsorted(removed))

    @staticmethod
    def _unsorted(removed: Mapping[str, set[int]]) -> Solution:
        """A passing solution; ``Solution.of`` would digest the space and sort each time."""
        return Solution(space="", removed={key: tuple(u) for key, u in removed.items() if u})


def structures_first(
    analysis: Analysis, saliency: Saliency, *, by: Literal["macs", "parameters"] | int = "macs"
) -> Saliency:
    """The same saliency with all structures before all else.

    Args:
        analysis: Of the model.
        saliency: Group id -> of every unit.
        by: The costliest first, or the seed of a random order.
    """
    keys = sorted(analysis.structure_by_id)
    groups = [analysis.space.group_by_id[key] for key in keys]
    if isinstance(by, int):
        values = np.random.default_rng(by).random(len(keys))
    else:
        values = np.array([-float(getattr(group, by)) for group in groups])
    lowest = min((float(v.min()) for v in saliency.values() if v.size), default=0.0)
    ranks = np.argsort(np.argsort(values, kind="stable")).tolist()
    first = {key: np.full(1, lowest - len(keys) + n) for key, n in zip(keys, ranks, strict=True)}
    return {**saliency, **first}


def rounded_up(ratio: float) -> str:
    """A share in so few digits that asking for it is not asking for less."""
    digits = 3
    while float(text := f"{ratio:.{digits}g}") < ratio:
        ratio_up = float(text) + 10 ** (floor(log10(ratio)) + 1 - digits)
        return f"{ratio_up:.{digits}g}"
    return text


def solve(
    analysis: Analysis,
    *,
    target_ratio: float,
    quantity: Quantity = "macs",
    saliency: Literal["magnitude", "random"] | Saliency = "magnitude",
    seed: int = 0,
) -> Solution:
    """One shot, no data: remove the least salient until ``target_ratio`` of the quantity remains.

    Raises:
        InputError: ``target_ratio`` is not between 0 and 1.
        TargetUnreachableError: The budget is below what can be reached.
    """
    check_ratio(target_ratio)
    values = saliency_of(analysis, saliency, seed) if isinstance(saliency, str) else saliency
    selection = Selection(analysis, quantity=quantity)
    selection.advance(values, target_ratio)
    return selection.solution()


def check_ratio(target_ratio: float) -> None:
    """Refuse what is no share.

    Raises:
        InputError: ``target_ratio`` is not between 0 and 1.
    """
    if not 0 < target_ratio < 1:
        message = f"a target is a share between 0 and 1 of what remains, got {target_ratio}"
        raise InputError(message, param="target")


def saliency_of(
    analysis: Analysis, criterion: Literal["magnitude", "random"], seed: int = 0
) -> dict[str, npt.NDArray[np.float64]]:
    """Saliency of every unit: root mean square over all members, relative to the group's mean.

    A structure's is that of its weights relative to the mean over all structures.
    """
    rng = np.random.default_rng(seed)
    if criterion == "random":
        return {group.id: rng.random(group.units) for group in analysis.space.groups}
    found, erasable = magnitudes(analysis), []
    for group in analysis.space.groups:
        if group.id in analysis.structure_by_id:
            erasable += [found[group.id][0]] if group.zero else []
        else:
            found[group.id] /= max(found[group.id].mean(), 1e-30)
    mean = float(np.mean(erasable)) if erasable else 1.0
    for key in analysis.structure_by_id:
        found[key] = found[key] / max(mean, 1e-30)
        if not analysis.space.group_by_id[key].zero:  # without weights, like the average of them
            found[key] = np.ones(1)
    return found


def magnitudes(analysis: Analysis) -> dict[str, npt.NDArray[np.float64]]:
    """Root mean square of every unit over all its members, as it is: group id -> (units,)."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    found = {}
    for group in analysis.space.groups:
        square, size = np.zeros(group.units), np.zeros(group.units)
        for slices in group.zero:
            name = slices.initializer
            if name not in arrays:
                tensor = analysis.graph.initializers[name]
                arrays[name] = numpy_helper.to_array(tensor).astype(np.float64) ** 2
            moved = np.moveaxis(arrays[name], slices.axis, 0)
            per_position = moved.reshape(moved.shape[0], -1)
            sums, width = per_position.sum(axis=1), per_position.shape[1]
            for unit, indices in enumerate(slices.unit_indices):
                square[unit] += sums[list(indices)].sum()
                size[unit] += width * len(indices)
        found[group.id] = np.sqrt(square / np.maximum(size, 1))
    return found
