"""Sums over the elements of each unit: of a tensor, or of a product that is never kept.

On the CPU a product goes through one scratch tensor that stays in the cache: fresh memory for
every product costs more than the sums. The sums of positions are gathered in one fixed order, so
that they are the same on every process and in every run, on a GPU too.

Shape letters: U units, P positions along one axis.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optimizer.h2spg.laying import wide_type


@dataclass(frozen=True, eq=False)
class Counted:
    """The units along one axis of one tensor whose elements count: int64 ``unit`` (P,)."""

    tensor: int
    dim: int
    unit: Tensor


class Summing:
    """Sums over units, prepared for tensors of given shapes."""

    def __init__(
        self,
        shapes: Sequence[torch.Size],
        counted: Sequence[Counted],
        num_units: int,
        device: torch.device,
    ) -> None:
        """Prepare.

        Args:
            shapes: Of the tensors.
            counted: What belongs to which unit; unit U is none.
            num_units: U.
            device: Where the tensors are.
        """
        self._num_units, self._device = num_units, device
        self._shapes = [tuple(shape) or (1,) for shape in shapes]
        self._dims: dict[int, list[int]] = {}  # tensor -> axes that are summed along
        for entry in counted:
            dims = self._dims.setdefault(entry.tensor, [])
            if entry.dim not in dims:
                dims.append(entry.dim)
        self._prepare_order(counted)
        self._scratch: dict[torch.dtype, Tensor] = {}

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Sum the elements of each unit of ``tensors``: float64 (U,)."""
        return self._gathered([tensors[number] for number in self._dims], None)

    def of_products(
        self,
        left: Sequence[Tensor],
        right: Sequence[Tensor | None],
        *,
        squared: bool = False,
        factors: Sequence[float] | None = None,
    ) -> Tensor:
        """Sum the products of elements, in at least single precision.

        Args:
            left: One for each tensor.
            right: One for each tensor, or None for zeros.
            squared: Sum the squares of the products instead.
            factors: What to multiply the sums of each tensor by.

        Returns:
            float64 (U,).
        """
        pairs = [(left[number], right[number]) for number in self._dims]
        scales = None if factors is None else [factors[number] for number in self._dims]
        if scales is not None and len(set(scales)) == 1:
            return self._gathered(self._products(pairs, squared=squared), None) * scales[0]
        return self._gathered(self._products(pairs, squared=squared), scales)

    def _products(
        self, pairs: Sequence[tuple[Tensor, Tensor | None]], *, squared: bool
    ) -> Iterator[Tensor | None]:
        """One after the other: each lives until the next one is asked for."""
        for left, right in pairs:
            if right is None:
                yield None
                continue
            product = self._product(left, right)
            yield product.square_() if squared else product

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        wide = wide_type(left)
        if self._device.type != "cpu" or wide != left.dtype or right.dtype != wide:
            return left.to(wide) * right.to(wide)
        if not (left.is_contiguous() and right.is_contiguous()):
            return left * right
        room = self._scratch.get(wide)
        if room is None:
            largest = max(math.prod(self._shapes[number]) for number in self._dims)
            room = self._scratch[wide] = torch.empty(largest, dtype=wide)
        return torch.mul(left, right, out=room[: left.numel()].view(left.shape))

    def _gathered(
        self, tensors: Sequence[Tensor] | Iterator[Tensor | None], scales: Sequence[float] | None
    ) -> Tensor:
        sums: list[Tensor] = []
        for place, (tensor, (number, dims)) in enumerate(
            zip(tensors, self._dims.items(), strict=True)
        ):
            shape = self._shapes[number]
            for dim in dims:
                if tensor is None:
                    sums.append(torch.zeros(shape[dim], dtype=torch.float64, device=self._device))
                    continue
                sum_P = _sum_along(tensor, shape, dim)
                sums.append(sum_P if scales is None else sum_P * scales[place])
        if not len(self._source):
            return torch.zeros(self._num_units, dtype=torch.float64, device=self._device)
        values = torch.cat(sums)[self._source]
        return torch.segment_reduce(values, "sum", offsets=self._offsets)

    def _prepare_order(self, counted: Sequence[Counted]) -> None:
        """Where the sums of each unit lie among those of all positions, unit by unit."""
        first, offset = {}, 0
        for number, dims in self._dims.items():
            for dim in dims:
                first[number, dim] = offset
                offset += self._shapes[number][dim]
        empty = torch.empty(0, dtype=torch.int64, device=self._device)
        unit = torch.cat([empty, *(entry.unit for entry in counted)])
        source = torch.cat(
            [
                empty,
                *(
                    torch.arange(len(entry.unit), device=self._device)
                    + first[entry.tensor, entry.dim]
                    for entry in counted
                ),
            ]
        )
        order = torch.argsort(unit, stable=True)
        counts = torch.bincount(unit, minlength=self._num_units + 1)[: self._num_units]
        self._source = source[order][: int(counts.sum())]
        self._offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _sum_along(tensor: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """float64 (P,): over all axes but ``dim``, along long stretches of memory."""
    positions = shape[dim]
    if not tensor.is_contiguous():
        others = [other for other in range(len(shape)) if other != dim]
        return tensor.sum(dim=others).double() if others else tensor.double()
    if dim == 0:
        rest = math.prod(shape[1:])
        if rest == 1:
            return tensor.view(positions).to(torch.float64, copy=True)  # never the scratch itself
        return tensor.view(positions, rest).sum(1).double()
    behind = math.prod(shape[dim + 1 :])
    sums = tensor.view(math.prod(shape[:dim]), positions * behind).sum(0)
    return sums.view(positions, behind).sum(1, dtype=torch.float64)
