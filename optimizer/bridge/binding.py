"""Ties a search space to the tensors of an imported module, and back to a solution.

``optimizer.h2spg`` and ``optimizer.trainer`` see unit numbers only; group ids, costs and validity
stay on this side.

Shape letters: U units, numbered through all groups in the order of the search space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import GroupKind, WeightSlices
from graph_analysis.solution import Solution
from graph_analysis.solving import Quantity, Selection
from graph_analysis.timing import Timing
from optimizer.bridge.features import FeatureFinder, Place
from optimizer.bridge.module import ImportedModule
from optimizer.h2spg import NO_UNIT, UnitLayout, UnitSlices

SelectionFactory = Callable[..., Selection]
Decided = Callable[[Mapping[str, npt.NDArray[np.float64]], Mapping[str, Sequence[int]]], None]


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A search space over live tensors.

    Attributes:
        analysis: Where groups, costs and validity come from.
        imported: The module that trains.
        selection: Makes the growing choice of units; replaced in tests.
        timing: Measures cuts, for a budget of latency.
        decided: Told of every decision: group id -> saliencies of its units, and what had been
            removed before.
    """

    analysis: Analysis
    imported: ImportedModule
    selection: SelectionFactory = Selection
    timing: Timing | None = None
    decided: Decided | None = None

    @cached_property
    def first_unit(self) -> Mapping[str, int]:
        """Group id -> number of its unit 0; the others follow it."""
        first, offset = {}, 0
        for group in self.analysis.space.groups:
            first[group.id] = offset
            offset += group.units
        return first

    @property
    def num_units(self) -> int:
        """U."""
        return sum(group.units for group in self.analysis.space.groups)

    @cached_property
    def operator_units(self) -> Tensor:
        """Bool (U,): the units that are whole operator structures, but for those that cost nothing.

        No budget can gain from these, so they are never tried either.
        """
        kinds = [
            group.kind is GroupKind.OPERATOR and bool(group.macs or group.parameters)
            for group in self.analysis.space.groups
            for _ in range(group.units)
        ]
        return torch.tensor(kinds, dtype=torch.bool)

    @cached_property
    def pool_of_unit(self) -> Tensor:
        """int64 (U,): a pool for each node group, and one for all operator structures.

        A structure is alone in its group, so only other structures can say what is little.
        """
        pools = []
        for number, group in enumerate(self.analysis.space.groups, start=1):
            is_operator = group.kind is GroupKind.OPERATOR
            pools += [0 if is_operator else number] * group.units
        return torch.tensor(pools, dtype=torch.int64)

    def slices(self) -> list[UnitSlices]:
        """What every unit sets to 0, on the tensors as they are now (device, storage).

        Slices of several groups along one axis of one tensor are laid together where they do not
        overlap. Initializers that the module does not hold, because nothing reads them or because
        their value became code, are left out. What was put into the module beside an initializer
        has its slices too.
        """
        tensors, companions = self.imported.tensors, self.imported.companions()
        masks = {mask.name for mask in self.analysis.masks}
        laid: dict[tuple[str, int], list[npt.NDArray[np.int64]]] = {}
        for group in self.analysis.space.groups:
            for slices in (*group.zero, *group.masks):
                tensor = tensors.get(slices.initializer)
                if tensor is not None and tensor.is_floating_point():
                    unit_P = _unit_of_position(slices, tensor, self.first_unit[group.id])
                    _lay(laid.setdefault((slices.initializer, slices.axis), []), unit_P)
        return [
            UnitSlices(tensor, axis, torch.from_numpy(unit_P), counts=name not in masks)
            for (name, axis), layers in laid.items()
            for tensor in (tensors[name], companions.get(name))
            if tensor is not None
            for unit_P in layers
        ]

    def layout(self) -> UnitLayout:
        """The units as H2SPG takes them."""
        return UnitLayout(self.slices(), num_units=self.num_units, pool_of_unit=self.pool_of_unit)

    def chooser(
        self, target_ratio: float, quantity: Quantity = "macs"
    ) -> Callable[[Tensor, Tensor, float], Tensor]:
        """Make the ``choose`` of H2SPG for a budget.

        Decision 1/P, ..., 1 of the budget leaves at most ``target_ratio ** fraction`` of the
        quantity: every decision removes the same share of what the one before it left. A decision
        takes the first part of what the whole budget would take, so that none can overshoot it,
        and a whole structure that is more than one decision's share goes when it is its turn.

        Args:
            target_ratio: Share of ``quantity`` that may remain in the end (0..1).
            quantity: What the budget counts.

        Raises:
            TargetUnreachableError: Even removing all that may go leaves more; raised now, before
                anything is trained.
        """
        if quantity == "latency":
            return self._timed_chooser(target_ratio)
        self.selection(self.analysis, quantity=quantity).check(target_ratio)

        def choose(saliency_U: Tensor, removed_U: Tensor, fraction: float) -> Tensor:
            removed, values = self.removed_by_group(removed_U), self._by_group(saliency_U)
            self._tell(values, removed)
            selection = self.selection(self.analysis, quantity=quantity, removed=removed)
            now_ratio = target_ratio**fraction
            selection.advance(values, target_ratio, now_ratio=now_ratio)
            return removed_U | self._of_solution(selection.solution())

        return choose

    def _timed_chooser(self, target_ratio: float) -> Callable[[Tensor, Tensor, float], Tensor]:
        """The same for a budget of latency: predicted on the way, measured at the last decision."""
        timing = self._timed
        timing.check(target_ratio)

        def choose(saliency_U: Tensor, removed_U: Tensor, fraction: float) -> Tensor:
            removed, values = self.removed_by_group(removed_U), self._by_group(saliency_U)
            self._tell(values, removed)
            if fraction < 1:
                now = target_ratio**fraction
                solution = timing.on_the_way(values, target_ratio, now, removed=removed)
            else:
                solution = timing.select(values, target_ratio, removed=removed)
            return removed_U | self._of_solution(solution)

        return choose

    def _tell(
        self, values: Mapping[str, npt.NDArray[np.float64]], removed: Mapping[str, Sequence[int]]
    ) -> None:
        if self.decided is not None:
            self.decided(values, removed)

    @property
    def _timed(self) -> Timing:
        if self.timing is None:
            message = "a budget of latency needs something that measures it"
            raise ValueError(message)
        return self.timing

    def remaining_ratio(self, removed_U: Tensor, quantity: Quantity = "macs") -> float:
        """Share of ``quantity`` that remains without the units of the bool ``removed_U`` (U,).

        Of latency it is what the model of the time predicts: nothing is measured.
        """
        removed = self.removed_by_group(removed_U)
        if quantity == "latency":
            return self._timed.selection(removed).remaining_ratio
        return self.selection(self.analysis, quantity=quantity, removed=removed).remaining_ratio

    def solution(self, removed_U: Tensor) -> Solution:
        """The solution of the bool ``removed_U`` (U,); units that died with others are left out."""
        return self.selection(self.analysis, removed=self.removed_by_group(removed_U)).solution()

    def feature_names(self, module: fx.GraphModule, most: int) -> tuple[str, ...]:
        """Tensors inside of ``module`` that can be compared with the original's."""
        return FeatureFinder(self.analysis).names(module, most)

    def feature_places(
        self, names: Sequence[str], removed_U: Tensor, cut_U: Tensor | None = None
    ) -> tuple[Place, ...]:
        """What is left of ``names`` without the units of the bool ``removed_U`` (U,).

        Args:
            names: Tensors of the whole network.
            removed_U: All units that go.
            cut_U: Those of them that the module does not have any more.
        """
        cut = None if cut_U is None else self.solution(cut_U)
        return FeatureFinder(self.analysis).places(names, self.solution(removed_U), cut)

    def removed_by_group(self, removed_U: Tensor) -> dict[str, list[int]]:
        """Group id -> units of the bool ``removed_U`` (U,), for groups that lose any."""
        removed_U = removed_U.cpu()
        removed = {
            group.id: self._part(removed_U, group.id).nonzero().flatten().tolist()
            for group in self.analysis.space.groups
        }
        return {key: units for key, units in removed.items() if units}

    def _of_solution(self, solution: Solution) -> Tensor:
        removed_U = torch.zeros(self.num_units, dtype=torch.bool)
        for key, units in solution.removed.items():
            self._part(removed_U, key)[list(units)] = True
        return removed_U

    def _by_group(self, value_U: Tensor) -> dict[str, npt.NDArray[np.float64]]:
        return {key: self._part(value_U, key).numpy() for key in self.first_unit}

    def _part(self, value_U: Tensor, key: str) -> Tensor:
        first = self.first_unit[key]
        return value_U[first : first + self.analysis.space.group_by_id[key].units]


def bind(
    analysis: Analysis,
    imported: ImportedModule,
    *,
    timing: Timing | None = None,
    decided: Decided | None = None,
) -> Binding:
    """Bind the search space of ``analysis`` to the tensors of ``imported``.

    Args:
        analysis: Of the model whose masked form (``analysis.maskable()``) was imported; where it
            needs no masks, that is the working copy.
        imported: The trainable module.
        timing: Measures cuts, for a budget of latency.
        decided: Told of every decision, see ``Binding``.

    Raises:
        ValueError: A slice does not fit the tensor of its name, so the two are of different models;
            or the module was not made from the masked form, so it would be trained towards
            statistics that the cut model does not have.
    """
    missing = [mask.name for mask in analysis.masks if mask.name not in imported.tensors]
    if missing:
        message = f"the module lacks mask '{missing[0]}': import analysis.maskable() instead"
        raise ValueError(message)
    binding = Binding(analysis=analysis, imported=imported, timing=timing, decided=decided)
    binding.layout()  # fails here rather than in the middle of a job
    return binding


def _unit_of_position(
    slices: WeightSlices, tensor: Tensor, first_unit: int
) -> npt.NDArray[np.int64]:
    length = tensor.shape[slices.axis] if tensor.dim() else 1
    unit_P = np.full(length, NO_UNIT, np.int64)
    for unit, indices in enumerate(slices.unit_indices):
        if indices and indices[-1] >= length:
            message = (
                f"unit {unit} has position {indices[-1]} on axis {slices.axis} of "
                f"'{slices.initializer}', the module's tensor has {length}"
            )
            raise ValueError(message)
        unit_P[list(indices)] = first_unit + unit
    return unit_P


def _lay(layers: list[npt.NDArray[np.int64]], unit_P: npt.NDArray[np.int64]) -> None:
    """Put ``unit_P`` into the first layer that is free at all its positions, or into a new one."""
    taken = unit_P != NO_UNIT
    for layer in layers:
        if not (layer[taken] != NO_UNIT).any():
            layer[taken] = unit_P[taken]
            return
    layers.append(unit_P)
