"""Which positions of which tensors belong to which unit, and arithmetic over units.

A unit is what is removed as one: a channel, a head, or a whole operator. Units overlap: an element
of a convolution's weight belongs to the channel that its row makes and to the one that its column
reads. Knows tensors and integers only; what a unit means is the caller's business.

Shape letters: U units, P positions along one dim of one tensor. How values are laid along tensors
stands in ``laying``, how their elements are summed in ``summing``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from optimizer.h2spg.laying import Axis, Positions, fill_zero, scale, touched
from optimizer.h2spg.saliency import Pools
from optimizer.h2spg.summing import (
    Counted,
    Summing,
    itself,
    movement,
    products,
    squared_products,
    squares,
)

__all__ = ["NO_UNIT", "Positions", "UnitLayout", "UnitSlices", "fill_zero", "scale"]

NO_UNIT = -1  # in ``unit_of_position``: this position is never removed


@dataclass(frozen=True, eq=False)
class UnitSlices:
    """The units along one dim of one tensor.

    Attributes:
        parameter: What is shrunk and zeroed: a parameter, or a float buffer that is not trained.
        dim: The dim that ``unit_of_position`` counts along; 0 for a 0-d tensor.
        unit_of_position: int64 (P,), the unit of each position, ``NO_UNIT`` where there is none.
        counts: Whether its elements say how much a unit matters; those of a mask do not.
    """

    parameter: Tensor
    dim: int
    unit_of_position: Tensor
    counts: bool = True


class UnitLayout:
    """All slices of all units, with all index tensors computed once.

    An element that one unit holds along two dims of one tensor counts twice in its sums.

    Attributes:
        tensors: The tensors that hold units, each once, in order of first appearance.
        slices: As they came in.
        num_units: U.
        pool_of_unit: int64 (U,): units whose saliency is compared with the mean of their pool.
        size: float64 (U,), elements of each unit that count.
    """

    def __init__(
        self, slices: Sequence[UnitSlices], *, num_units: int, pool_of_unit: Tensor
    ) -> None:
        """Prepare all index tensors.

        Raises:
            ValueError: A slice does not fit its tensor, names a unit that does not exist, or the
                tensors live on several devices.
        """
        self.slices = tuple(slices)
        if pool_of_unit.shape != (num_units,):
            message = f"pool_of_unit has shape {tuple(pool_of_unit.shape)}, not (U,)"
            raise ValueError(message)
        self.num_units = num_units
        self.tensors: list[Tensor] = []
        axes, counted = [], []
        index_of: dict[int, int] = {}
        for entry in slices:
            _check(entry, num_units)
            number = index_of.setdefault(id(entry.parameter), len(self.tensors))
            if number == len(self.tensors):
                self.tensors.append(entry.parameter)
            unit_P = entry.unit_of_position.to(entry.parameter.device, torch.int64)
            unit_P = torch.where(unit_P == NO_UNIT, num_units, unit_P)
            axes.append(Axis.along(number, entry.parameter, entry.dim, unit_P))
            if entry.counts:
                counted.append(Counted(number, entry.dim, unit_P))
        devices = {tensor.device for tensor in self.tensors}
        if len(devices) > 1:
            message = f"the tensors of the units live on several devices: {devices}"
            raise ValueError(message)
        self.device = devices.pop() if devices else torch.device("cpu")
        self.pool_of_unit = pool_of_unit.to(self.device, torch.int64)
        everything_U = torch.ones(num_units, dtype=torch.bool, device=self.device)
        self._pools = Pools.of(self.pool_of_unit, everything_U)
        self._axes = tuple(axes)
        shapes = [tensor.shape for tensor in self.tensors]
        self._summing = Summing(shapes, counted, num_units, self.device)
        ones = [torch.ones((), device=self.device).expand(tensor.shape) for tensor in self.tensors]
        self.size = self.sums(ones)

    def pools_without(self, removed_U: Tensor) -> Pools:
        """The pools whose means run over the units that are not in the bool ``removed_U`` (U,)."""
        return replace(self._pools, counted=~removed_U)

    def replace_slices(self, slices: Sequence[UnitSlices]) -> None:
        """Follow tensors that lost positions; units and their ``size`` stay what they were.

        So a unit whose members became fewer because others went is as salient as before. Whoever
        has computed something from the positions must do so again.

        Raises:
            ValueError: As at the start.
        """
        size = self.size
        left = [one for one in slices if one.parameter.numel()]  # what is gone has no elements
        self.__dict__ |= UnitLayout(
            left, num_units=self.num_units, pool_of_unit=self.pool_of_unit
        ).__dict__
        self.size = size

    def sums(self, tensors: Sequence[Tensor]) -> Tensor:
        """Sum the elements of each unit, those that count.

        Args:
            tensors: One for each of ``self.tensors``, of the same shape.

        Returns:
            float64 (U,).
        """
        return self._summing.of_terms([tensors], itself, [None])[0]

    def square_norms(self, tensors: Sequence[Tensor]) -> Tensor:
        """Sum the squares of the elements of each unit: float64 (U,)."""
        return self._summing.of_terms([tensors], squares, [None])[0]

    def dots(
        self,
        left: Sequence[Tensor | None],
        right: Sequence[Tensor | None],
        *,
        squared: bool = False,
    ) -> Tensor:
        """Sum the products of the elements of each unit, or the squares of them.

        Args:
            left: One for each of ``self.tensors``, of the same shape; None stands for zeros.
            right: As ``left``.
            squared: Sum the squares of the products.

        Returns:
            float64 (U,).
        """
        terms = squared_products if squared else products
        return self._summing.of_terms([left, right], terms, [None])[0]

    def movements(
        self, before: Sequence[Tensor], after: Sequence[Tensor], factors: Sequence[float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Measure how the units moved, with d = factor * (x - x').

        Args:
            before: x, one for each of ``self.tensors``.
            after: x'.
            factors: One for each of ``self.tensors``.

        Returns:
            ||x||^2, <x, d> and ||d||^2: float64 (U,) each.
        """
        squares_of = [factor**2 for factor in factors]
        norm_U, dot_U, moved_U = self._summing.of_terms(
            [before, after], movement, [None, factors, squares_of]
        )
        return norm_U, dot_U, moved_U

    def positions(self, mask_U: Tensor) -> Positions:
        """Find where the units of the bool ``mask_U`` (U,) are. Waits for the device."""
        return touched(self._axes, mask_U)


def _as_array(tensor: Tensor) -> Tensor:
    return tensor if tensor.dim() else tensor.view(1)


def _check(entry: UnitSlices, num_units: int) -> None:
    array = _as_array(entry.parameter)
    if not array.is_floating_point():
        message = f"a unit holds a tensor of {array.dtype}; only floats can be shrunk"
        raise ValueError(message)
    if not 0 <= entry.dim < array.dim():
        message = f"dim {entry.dim} does not exist in a tensor of {array.dim()} dims"
        raise ValueError(message)
    unit_P = entry.unit_of_position
    if unit_P.shape != (array.shape[entry.dim],):
        message = (
            f"unit_of_position has shape {tuple(unit_P.shape)}, dim {entry.dim} has "
            f"{array.shape[entry.dim]} positions"
        )
        raise ValueError(message)
    low, high = (int(unit_P.min()), int(unit_P.max())) if math.prod(unit_P.shape) else (0, -1)
    if low < NO_UNIT or high >= num_units:
        message = f"units run from 0 to {num_units - 1}, a slice names {low}..{high}"
        raise ValueError(message)
