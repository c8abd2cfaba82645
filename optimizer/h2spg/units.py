"""Which positions of which tensors belong to which unit, and arithmetic over units.

A unit is what is removed as one: a channel, a head, or a whole operator. Units overlap: an element
of a convolution's weight belongs to the channel that its row makes and to the one that its column
reads. Knows tensors and integers only; what a unit means is the caller's business.

Shape letters: U units, P positions along one dim of one tensor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optimizer.h2spg.saliency import Pools

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


@dataclass(frozen=True, eq=False)
class Positions:
    """Some positions along one dim of one tensor: int64 ``index`` into ``dim``."""

    tensor: int
    dim: int
    index: Tensor


class UnitLayout:
    """All slices of all units, with their index tensors computed once.

    An element that one unit holds along two dims of one tensor counts twice in its sums.

    Attributes:
        tensors: The tensors that hold units, each once, in order of first appearance.
        num_units: U.
        pool_of_unit: int64 (U,): units whose saliency is compared with the mean of their pool.
        size: float64 (U,), elements of each unit that count.
    """

    def __init__(
        self, slices: Sequence[UnitSlices], *, num_units: int, pool_of_unit: Tensor
    ) -> None:
        """Precompute the index tensors.

        Raises:
            ValueError: A slice does not fit its tensor, names a unit that does not exist, or the
                tensors live on several devices.
        """
        if pool_of_unit.shape != (num_units,):
            message = f"pool_of_unit has shape {tuple(pool_of_unit.shape)}, not (U,)"
            raise ValueError(message)
        self.num_units = num_units
        self.tensors: list[Tensor] = []
        self._entries: list[tuple[int, int, Tensor]] = []  # tensor, dim, unit of position or U
        self._counted: list[tuple[int, int, Tensor]] = []  # those of them that count
        index_of: dict[int, int] = {}
        for entry in slices:
            _check(entry, num_units)
            number = index_of.setdefault(id(entry.parameter), len(self.tensors))
            if number == len(self.tensors):
                self.tensors.append(entry.parameter)
            unit_P = entry.unit_of_position.to(entry.parameter.device, torch.int64)
            unit_P = torch.where(unit_P == NO_UNIT, num_units, unit_P)
            self._entries.append((number, entry.dim, unit_P))
            if entry.counts:
                self._counted.append(self._entries[-1])
        devices = {tensor.device for tensor in self.tensors}
        if len(devices) > 1:
            message = f"the tensors of the units live on several devices: {devices}"
            raise ValueError(message)
        self.device = devices.pop() if devices else torch.device("cpu")
        self._num_pools = int(pool_of_unit.max()) + 1 if num_units else 0
        self.pool_of_unit = pool_of_unit.to(self.device, torch.int64)
        indices = [unit_P for _, _, unit_P in self._counted]
        empty = torch.empty(0, dtype=torch.int64, device=self.device)
        self._unit_of_sum = torch.cat([empty, *indices])
        ones = [torch.ones((), device=self.device).expand(tensor.shape) for tensor in self.tensors]
        self.size = self.sums(ones)

    def pools_without(self, removed_U: Tensor) -> Pools:
        """The pools whose means run over the units that are not in the bool ``removed_U`` (U,)."""
        return Pools(of_unit=self.pool_of_unit, count=self._num_pools, counted=~removed_U)

    def sums(self, tensors: Sequence[Tensor]) -> Tensor:
        """Sum the elements of each unit, those that count.

        Args:
            tensors: One for each of ``self.tensors``, of the same shape.

        Returns:
            float64 (U,).
        """
        total = torch.zeros(self.num_units + 1, dtype=torch.float64, device=self.device)
        if not self._counted:
            return total[:-1]
        per_position = [
            _sum_along(tensors[number], dim).double() for number, dim, _ in self._counted
        ]
        return total.index_add_(0, self._unit_of_sum, torch.cat(per_position))[:-1]

    def spread(self, value_U: Tensor) -> list[tuple[int, Tensor]]:
        """Lay a value per unit out along the tensors; positions without a unit get 0.

        Returns:
            For each slice the number of its tensor, and the values in a shape that broadcasts.
        """
        padded = torch.cat([value_U, value_U.new_zeros(1)])
        spread = []
        for number, dim, unit_P in self._entries:
            shape = [1] * max(self.tensors[number].dim(), 1)
            shape[dim] = len(unit_P)
            value = padded[unit_P].reshape(shape if self.tensors[number].dim() else ())
            spread.append((number, value))
        return spread

    def positions(self, mask_U: Tensor) -> list[Positions]:
        """List where the units of the bool ``mask_U`` (U,) are. Waits for the device."""
        padded = torch.cat([mask_U, mask_U.new_zeros(1)])
        found = []
        for number, dim, unit_P in self._entries:
            index = padded[unit_P].nonzero().flatten()
            if len(index):
                found.append(Positions(number, dim, index))
        return found


def fill_zero(tensors: Sequence[Tensor | None], positions: Sequence[Positions]) -> None:
    """Set ``positions`` of ``tensors`` (one for each of the layout's, or None) to exactly 0."""
    for place in positions:
        tensor = tensors[place.tensor]
        if tensor is not None:
            _as_array(tensor).index_fill_(place.dim, place.index, 0.0)


def scale(tensors: Sequence[Tensor], positions: Sequence[Positions], factor: float) -> None:
    """Multiply ``positions`` of ``tensors`` (one for each of the layout's) by ``factor``."""
    for place in positions:
        array = _as_array(tensors[place.tensor])
        scaled = array.index_select(place.dim, place.index).mul_(factor)
        array.index_copy_(place.dim, place.index, scaled)


def _as_array(tensor: Tensor) -> Tensor:
    return tensor if tensor.dim() else tensor.view(1)


def _sum_along(tensor: Tensor, dim: int) -> Tensor:
    array = _as_array(tensor)
    others = [other for other in range(array.dim()) if other != dim]
    return array.sum(dim=others) if others else array


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
