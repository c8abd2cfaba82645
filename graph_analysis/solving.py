"""Greedy selection under a budget: lowest saliency first, valid at every step.

``Selection`` grows a solution towards a target; ``solve`` is the one-shot use of it without data.
"""

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from graph_analysis.effects import Survivors, is_connected, survivors
from graph_analysis.errors import InputError, TargetUnreachableError
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
        self._min_units = max(1, min_units or analysis.options.min_units)
        self._removed = {key: set(units) for key, units in (removed or {}).items()}
        self._step = {
            group.id: self._multiple // gcd(self._multiple, _channels_per_unit(group))
            for group in analysis.space.groups
        }
        self._whole = self._cost({})

    @property
    def remaining_ratio(self) -> float:
        """Share of the quantity that remains (0..1)."""
        return self._cost(self._removed) / max(1, self._whole)

    def solution(self) -> Solution:
        """The choice so far; units of groups that died with a structure are left out."""
        alive = {k: sorted(v) for k, v in self._removed.items() if not self._is_dead(k)}
        return Solution.of(self._analysis.space, alive)

    def advance(self, saliency: Saliency, target_ratio: float) -> None:
        """Remove units, lowest saliency first, until at most ``target_ratio`` remains.

        Raises:
            TargetUnreachableError: Even removing all that may go leaves more.
        """
        order = self._candidates(saliency)
        full = self._grown(order, len(order))
        best = self._cost(full) / max(1, self._whole)
        if best > target_ratio:
            message = f"a target of {target_ratio:.3g} of the {self._quantity} cannot be reached"
            message += f"; at least {best:.3g} remains under these settings"
            if self._multiple > 1:
                message += f" (a multiple below {self._multiple} may reach further)"
            raise TargetUnreachableError(message, reachable_ratio=best, param="target")
        best_choice, best_cost = full, self._cost(full)
        skipped: set[tuple[str, int]] = set()
        while True:
            tried = [candidate for candidate in order if candidate not in skipped]
            count = self._shortest_prefix(tried, target_ratio * self._whole)
            if count is None:
                break
            choice = self._grown(tried, count)
            cost = self._cost(choice)
            if cost > best_cost or not skipped:
                best_choice, best_cost = choice, cost
            last = tried[count - 1] if count else None
            near = cost >= (target_ratio - _TOLERANCE) * self._whole
            if near or last is None or last[0] not in self._analysis.structure_by_id:
                break
            skipped.add(last)  # a structure too large for what was left of the budget
        self._removed = best_choice

    def _shortest_prefix(self, order: Sequence[tuple[str, int]], budget: float) -> int | None:
        """How many candidates bring the cost within the budget; None if all of them do not."""
        if self._cost(self._grown(order, len(order))) > budget:
            return None
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self._cost(self._grown(order, middle)) <= budget:
                high = middle
            else:
                low = middle + 1
        return high

    def _candidates(self, saliency: Saliency) -> list[tuple[str, int]]:
        found = []
        for group in self._analysis.space.groups:
            values = saliency.get(group.id)
            if values is None or self._is_dead(group.id):
                continue
            taken = self._removed.get(group.id, set())
            found += [
                (float(values[unit]), group.id, unit)
                for unit in range(group.units)
                if unit not in taken
            ]
        return [(key, unit) for _, key, unit in sorted(found)]

    def _grown(self, order: Sequence[tuple[str, int]], count: int) -> dict[str, set[int]]:
        """The choice after considering the first ``count`` candidates."""
        removed = {key: set(units) for key, units in self._removed.items()}
        by_id = self._analysis.space.group_by_id
        structures = self._analysis.structure_by_id
        for key, unit in order[:count]:
            if key in structures:
                if self._may_erase(removed, key):
                    removed[key] = {0}
            elif len(removed.get(key, ())) < by_id[key].units - self._floor(by_id[key]):
                removed.setdefault(key, set()).add(unit)
        return self._rounded(removed, order[:count])

    def _floor(self, group: Group) -> int:
        floor, step = min(self._min_units, group.units), self._step[group.id]
        return max(floor, step) if group.units > step else floor

    def _rounded(
        self, removed: dict[str, set[int]], order: Sequence[tuple[str, int]]
    ) -> dict[str, set[int]]:
        if self._multiple == 1:
            return removed
        for key, unit in reversed(order):
            group = self._analysis.space.group_by_id[key]
            taken = removed.get(key, set())
            if key in self._analysis.structure_by_id or unit not in taken:
                continue
            kept = group.units - len(taken)
            step = self._step[key]
            if group.units > step and kept % step and kept < group.units:
                taken.discard(unit)
        return removed

    def _may_erase(self, removed: Mapping[str, set[int]], key: str) -> bool:
        graph = self._analysis.graph
        structure = self._analysis.structure_by_id[key]
        if structure.vertices <= self._survivors(removed).removed:
            return False
        remaining = survivors(graph, self._erased(removed) | structure.vertices)
        if remaining.starved or not is_connected(graph, remaining):
            return False
        with_it = {**removed, key: {0}}
        return all(
            not self._is_emptied(entry.classes, with_it, remaining, entry.group.id)
            for entry in self._analysis.node_groups
        )

    def _is_emptied(
        self,
        classes: Sequence[int],
        removed: Mapping[str, set[int]],
        remaining: Survivors,
        key: str,
    ) -> bool:
        by_concat = {
            unit
            for name in removed
            if name in self._analysis.structure_by_id
            for unit in self._analysis.structure_by_id[name].classes
        }
        lost = sum(1 for n, c in enumerate(classes) if c in by_concat or n in removed.get(key, ()))
        if lost < len(classes) or set(classes) <= by_concat:
            return False
        return not remaining.removed

    def _erased(self, removed: Mapping[str, set[int]]) -> frozenset[int]:
        structures = self._analysis.structure_by_id
        return frozenset(
            i for key in removed if key in structures for i in structures[key].vertices
        )

    def _survivors(self, removed: Mapping[str, set[int]]) -> Survivors:
        return survivors(self._analysis.graph, self._erased(removed))

    def _is_dead(self, key: str) -> bool:
        parent_removed = self._survivors(self._removed).removed
        if not parent_removed or (key in self._removed and key in self._analysis.structure_by_id):
            return False
        entry = self._analysis.space.group_by_id[key]
        if key in self._analysis.structure_by_id:
            return self._analysis.structure_by_id[key].vertices <= parent_removed
        by_concat = {
            unit
            for name in self._removed
            if name in self._analysis.structure_by_id
            for unit in self._analysis.structure_by_id[name].classes
        }
        if set(self._analysis.classes_by_id[key].tolist()) <= by_concat:
            return True
        return all(
            index in parent_removed
            for slices in entry.cut
            for index, _ in self._analysis.graph.consumers[slices.initializer]
        )

    def _cost(self, removed: Mapping[str, set[int]]) -> int:
        solution = Solution(
            space="", removed={key: tuple(units) for key, units in removed.items() if units}
        )
        gone, remaining = self._analysis.gone(solution), self._survivors(removed)
        if self._quantity == "macs":
            return self._analysis.remaining_macs(gone, remaining)
        in_bytes = self._quantity == "bytes"
        return self._analysis.remaining_elements(gone, remaining, in_bytes=in_bytes)


def _channels_per_unit(group: Group) -> int:
    """Largest number that divides how many positions a unit has on every axis it is cut from."""
    lengths = [len(indices) for slices in group.cut for indices in slices.unit_indices if indices]
    return max(1, gcd(*lengths))


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
            erasable.append(found[group.id][0])
        else:
            found[group.id] /= max(found[group.id].mean(), 1e-30)
    mean = float(np.mean(erasable)) if erasable else 1.0
    for key in analysis.structure_by_id:
        found[key] = found[key] / max(mean, 1e-30)
    return found
