"""Sequences of tensors while a model runs: Python lists that are never changed, only made anew.

Needed where the length of a sequence is not known at import; else a sequence leaves no trace in
the torch graph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from optimizer.bridge.host import HostValue, only


def insert(tensors: Sequence[Tensor], tensor: Tensor, position: HostValue | None) -> list[Tensor]:
    """Return the sequence with ``tensor`` before a position, at the end if that is ``None``."""
    place = len(tensors) if position is None else int(only(position))
    _check(place, -len(tensors), len(tensors))
    result = list(tensors)
    result.insert(place, tensor)
    return result


def erase(tensors: Sequence[Tensor], position: HostValue | None) -> list[Tensor]:
    """Return the sequence without the tensor at a position, without the last if it is ``None``."""
    place = -1 if position is None else int(only(position))
    _check(place, -len(tensors), len(tensors) - 1)
    result = list(tensors)
    del result[place]
    return result


def at(tensors: Sequence[Tensor], position: HostValue) -> Tensor:
    """Return the tensor at a position; negative ones count from the end."""
    place = int(only(position))
    _check(place, -len(tensors), len(tensors) - 1)
    return tensors[place]


def length(tensors: Sequence[Tensor]) -> int:
    """Return how many tensors there are."""
    return len(tensors)


def split(x: Tensor, sizes: HostValue | None, axis: int, keepdims: bool) -> list[Tensor]:  # noqa: FBT001
    """Cut ``x`` along an axis.

    Args:
        x: What is cut.
        sizes: One size for all parts but the last, which may be smaller; or a size for each;
            ``None`` for parts of size 1.
        axis: Along which.
        keepdims: Whether parts of size 1 keep the axis where ``sizes`` is ``None``.
    """
    if sizes is None:
        return list(torch.split(x, 1, axis) if keepdims else torch.unbind(x, axis))
    if isinstance(sizes, tuple):
        return list(torch.split(x, [int(size) for size in sizes], axis))
    return list(torch.split(x, int(sizes), axis))


def concat(tensors: Sequence[Tensor], axis: int, new_axis: bool) -> Tensor:  # noqa: FBT001
    """Join the tensors along an axis, or along one that is new in the result."""
    parts = list(tensors)
    return torch.stack(parts, axis) if new_axis else torch.cat(parts, axis)


def has_element(value: object) -> bool:
    """Whether an optional is not nothing."""
    return value is not None


def _check(place: int, lowest: int, highest: int) -> None:
    if not lowest <= place <= highest:
        message = f"position {place} lies outside of a sequence: {lowest} to {highest}"
        raise IndexError(message)
