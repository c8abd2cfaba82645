"""Values of units laid along the axes of tensors, so that each is applied in one pass.

A value per position of an axis is laid along a tensor that is contiguous as a column (axis 0) or,
repeated for the axes behind it, as a row: broadcasting then runs over long stretches of memory,
which costs a fraction of what an index list or short repeats do. Nothing here waits for the device,
but for ``touched``.

Shape letters: U units, P positions along one axis, N values as they are laid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_INTEGER_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of one tensor, and the unit of each value that is laid along it.

    Attributes:
        tensor: Number of the tensor.
        shape: Of the tensor; (1,) for a 0-d one.
        dim: The axis.
        unit: int64 (N,), the unit of each value; U where there is none.
    """

    tensor: int
    shape: tuple[int, ...]
    dim: int
    unit: Tensor

    @classmethod
    def along(cls, number: int, tensor: Tensor, dim: int, unit_P: Tensor) -> "Axis":
        """The axis ``dim`` of ``tensor``, whose positions belong to ``unit_P``."""
        shape = tuple(tensor.shape) or (1,)
        behind = math.prod(shape[dim + 1 :]) if dim else 1
        return cls(number, shape, dim, unit_P.repeat_interleave(behind))

    def laid(self, value_N: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The values, and a view of each of ``tensors``, in shapes that broadcast."""
        positions = self.shape[self.dim]
        if not all(tensor.is_contiguous() for tensor in tensors):
            shape = [1] * len(self.shape)
            shape[self.dim] = positions
            repeats = max(len(value_N) // max(positions, 1), 1)
            return value_N[::repeats].view(shape), *tensors
        if self.dim == 0:
            flat = (positions, math.prod(self.shape[1:]))
            return value_N.view(positions, 1), *(tensor.view(flat) for tensor in tensors)
        flat = (math.prod(self.shape[: self.dim]), len(value_N))
        return value_N, *(tensor.view(flat) for tensor in tensors)


@dataclass(frozen=True, eq=False)
class Positions:
    """Where some units are: all axes they lie on, with one flat mask over their values.

    Attributes:
        axes: Of the tensors that are touched.
        unit: int64, the units of all values, axis after axis.
        mask: bool, whether the value belongs to one of the units in question.
    """

    axes: tuple[Axis, ...]
    unit: Tensor
    mask: Tensor

    @property
    def tensors(self) -> list[int]:
        """Numbers of the tensors that are touched, each once."""
        return list(dict.fromkeys(axis.tensor for axis in self.axes))

    def of(self, mask_U: Tensor) -> "Positions":
        """The same axes with other units on them; for units that lie on no others."""
        return Positions(self.axes, self.unit, _padded(mask_U)[self.unit])

    def spread(self, value_U: Tensor) -> list[tuple[Axis, Tensor]]:
        """A value per unit as it is laid along each axis; 0 where there is no unit."""
        return self._split(_padded(value_U)[self.unit])

    def _split(self, value: Tensor) -> list[tuple[Axis, Tensor]]:
        parts = torch.split_with_sizes(value, [len(axis.unit) for axis in self.axes])
        return list(zip(self.axes, parts, strict=True))

    def keeping(self, dtype: torch.dtype) -> list[tuple[Axis, Tensor]]:
        """All bits set where a value stays, none where it becomes 0; of the integer ``dtype``."""
        return self._split(self.mask.to(dtype) - 1)

    def factors(self, factor: float, dtype: torch.dtype) -> list[tuple[Axis, Tensor]]:
        """``factor`` at the units, 1 elsewhere."""
        ones = torch.ones((), dtype=dtype, device=self.mask.device)
        return self._split(torch.where(self.mask, factor, ones))


def touched(axes: Sequence[Axis], mask_U: Tensor) -> Positions:
    """Find where the units of the bool ``mask_U`` (U,) are. Waits for the device."""
    padded = _padded(mask_U)
    found = [padded[axis.unit].any() for axis in axes]
    flags = torch.stack(found).tolist() if found else []
    some = tuple(axis for axis, flag in zip(axes, flags, strict=True) if flag)
    unit = torch.cat([mask_U.new_empty(0, dtype=torch.int64), *(axis.unit for axis in some)])
    return Positions(some, unit, padded[unit])


def fill_zero(tensors: Sequence[Tensor | None], positions: Positions) -> None:
    """Set ``positions`` of ``tensors`` (one for each of the layout's, or None) to exactly 0.

    By clearing all bits: NaN and infinity become 0 too, and it is as fast as a product.
    """
    for dtype, numbers in _numbers_by(
        tensors, lambda tensor: _INTEGER_OF_SIZE[tensor.element_size()]
    ):
        for axis, keep_N in positions.keeping(dtype):
            tensor = tensors[axis.tensor]
            if tensor is not None and axis.tensor in numbers:
                keep, view = axis.laid(keep_N, tensor)
                view.view(dtype).bitwise_and_(keep)


def scale(tensors: Sequence[Tensor], positions: Positions, factor: float) -> None:
    """Multiply ``positions`` of ``tensors`` (one for each of the layout's) by ``factor``."""
    for dtype, numbers in _numbers_by(tensors, wide_type):
        for axis, factor_N in positions.factors(factor, dtype):
            if axis.tensor in numbers:
                value, view = axis.laid(factor_N, tensors[axis.tensor])
                view.mul_(value)


def subtract_products(
    tensors: Sequence[Tensor],
    others: Sequence[Tensor],
    positions: Positions,
    value_U: Tensor,
    rates: Sequence[float],
) -> None:
    """Take rate * value * other from ``tensors``, with a value per unit.

    Args:
        tensors: One for each of the layout's.
        others: As many, of the same shapes.
        positions: Where; no value may be other than 0 elsewhere.
        value_U: (U,).
        rates: A factor for each tensor.
    """
    for dtype, numbers in _numbers_by(tensors, lambda tensor: tensor.dtype):
        for axis, value_N in positions.spread(value_U.to(dtype)):
            if axis.tensor in numbers:
                pair = tensors[axis.tensor], others[axis.tensor]
                value, tensor, other = axis.laid(value_N, *pair)
                tensor.addcmul_(other, value, value=-rates[axis.tensor])


def wide_type(tensor: Tensor) -> torch.dtype:
    """At least single precision: a factor near 1 has no value of its own in bfloat16."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _numbers_by(
    tensors: Sequence[Tensor | None], kind: Callable[[Tensor], torch.dtype]
) -> list[tuple[torch.dtype, set[int]]]:
    found: dict[torch.dtype, set[int]] = {}
    for number, tensor in enumerate(tensors):
        if tensor is not None:
            found.setdefault(kind(tensor), set()).add(number)
    return list(found.items())


def _padded(value_U: Tensor) -> Tensor:
    return torch.cat([value_U, value_U.new_zeros(1)])
