"""Greedy selection under a budget: lowest saliency first, valid at every step.

``Selection`` grows a solution towards a target; ``solve`` is the one-shot use of it without data.
"""

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from graph_analysis.errors import InputError, TargetUnreachableError
from graph_analysis.growth import Candidate, Growth
from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import Group
from graph_analysis.solution import Solution

Quantity = Literal["macs", "parameters", "bytes"]
_TOLERANCE = 0.01  # of the whole; below the target by more, a last large structure is left out
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
    """

    def __init__(
        self,
        analysis: Analysis,
        *,
        quantity: Quantity = "macs",
        multiple: int | None = None,
        min_units: int | None = None,
        removed: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self._analysis = analysis
        self._quantity = quantity
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
        self._whole = self._cost({})

    @property
    def remaining_ratio(self) -> float:
        """Share of the quantity that remains (0..1)."""
        return self._cost(self._removed) / max(1, self._whole)

    def solution(self) -> Solution:
        """The choice so far; units of groups that died with a structure are left out."""
        dead = self._analysis.dead(self._unsorted(self._removed))
        alive = {k: sorted(v) for k, v in self._removed.items() if k not in dead}
        return Solution.of(self._analysis.space, alive)

    def advance(self, saliency: Saliency, target_ratio: float) -> None:
        """Remove units, lowest saliency first, until at most ``target_ratio`` remains.

        Raises:
            TargetUnreachableError: Even removing all that may go leaves more.
        """
        growth = self._grown(self._candidates(saliency), {})
        budget = target_ratio * self._whole
        best_choice = growth.prefix(len(growth.order), self._step)
        best_cost = self._cost(best_choice)
        if best_cost / max(1, self._whole) > target_ratio:
            raise self._unreachable(target_ratio, best_cost / max(1, self._whole))
        has_skipped = False
        while True:
            count = self._shortest_prefix(growth, budget)
            if count is None:
                break
            choice = growth.prefix(count, self._step)
            cost = self._cost(choice)
            if cost > best_cost or not has_skipped:
                best_choice, best_cost = choice, cost
            near = cost >= (target_ratio - _TOLERANCE) * self._whole
            if near or not count or growth.order[count - 1][0] not in self._structures:
                break
            # a structure too large for what was left of the budget: go on without it
            without = [*growth.order[: count - 1], *growth.order[count:]]
            growth = self._grown(without, growth.answers_before(count - 1))
            has_skipped = True
        self._removed = best_choice

    def exhaust(self, saliency: Saliency) -> None:
        """Remove all that may go, lowest saliency first."""
        growth = self._grown(self._candidates(saliency), {})
        self._removed = growth.prefix(len(growth.order), self._step)

    def _unreachable(self, target_ratio: float, best: float) -> TargetUnreachableError:
        message = f"a target of {target_ratio:.3g} of the {self._quantity} cannot be reached"
        message += f"; at least {best:.3g} remains under these settings"
        if self._multiple > 1:
            message += f" (a multiple below {self._multiple} may reach further)"
        return TargetUnreachableError(message, reachable_ratio=best, param="target")

    def _shortest_prefix(self, growth: Growth, budget: float) -> int | None:
        """How many candidates bring the cost within the budget; None if all of them do not."""
        low, high = 0, len(growth.order)
        if self._cost(growth.prefix(high, self._step)) > budget:
            return None
        while low < high:
            middle = (low + high) // 2
            if self._cost(growth.prefix(middle, self._step)) <= budget:
                high = middle
            else:
                low = middle + 1
        return high

    def _candidates(self, saliency: Saliency) -> list[Candidate]:
        found = []
        dead = self._analysis.dead(self._unsorted(self._removed))
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
        """Whether it is a structure whose removal brings no target nearer."""
        cost = group.macs if self._quantity == "macs" else group.parameters
        return group.id in self._structures and cost == 0

    def _grown(self, order: Sequence[Candidate], known: Mapping[str, bool]) -> Growth:
        return Growth(self._analysis, self._removed, order, floor=self._floor, known=known)

    def _cost(self, removed: Mapping[str, set[int]]) -> int:
        solution = self._unsorted(removed)
        gone, remaining = self._analysis.gone(solution), self._analysis.survivors(solution)
        if self._quantity == "macs":
            return self._analysis.remaining_macs(gone, remaining)
        in_bytes = self._quantity == "bytes"
        return self._analysis.remaining_elements(gone, remaining, in_bytes=in_bytes)

    @staticmethod
    def _unsorted(removed: Mapping[str, set[int]]) -> Solution:
        """A passing solution; ``Solution.of`` would digest the space and sort each time."""
        return Solution(space="", removed={key: tuple(u) for key, u in removed.items() if u})


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
    if not 0 < target_ratio < 1:
        message = f"a target is a share between 0 and 1 of what remains, got {target_ratio}"
        raise InputError(message, param="target")
    values = saliency_of(analysis, saliency, seed) if isinstance(saliency, str) else saliency
    selection = Selection(analysis, quantity=quantity)
    selection.advance(values, target_ratio)
    return selection.solution()


def saliency_of(
    analysis: Analysis, criterion: Literal["magnitude", "random"], seed: int = 0
) -> dict[str, npt.NDArray[np.float64]]:
    """Saliency of every unit: root mean square over all members, relative to the group's mean.

    A structure's is that of its weights relative to the mean over all structures.
    """
    rng = np.random.default_rng(seed)
    if criterion == "random":
        return {group.id: rng.random(group.units) for group in analysis.space.groups}
    arrays: dict[str, npt.NDArray[Any]] = {}
    found, erasable = {}, []
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
