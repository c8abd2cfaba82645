"""Data movement: the same numbers in another order or shape."""

import math

import numpy as np
import torch

from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, join, only
from optimizer.bridge.narrow import is_narrow, narrowed
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.relaxing import differ_only_in_stale_batch, relax_target
from optimizer.bridge.values import Value

Axes = tuple[int, ...]


@operator("Reshape", since=5)
def reshape(call: Call) -> Value:
    """Reshape; 0 copies a size unless ``allowzero`` is set, a baked-in batch is made free."""
    x, target = call.tensor(0), call.numbers(1)
    copies = not call.attribute("allowzero", 0)
    if isinstance(target, Value):
        return call.write.emit(reshape_to, x, target, copies=copies)
    sizes = tuple(int(size) for size in (target if isinstance(target, tuple) else (target,)))
    if copies and 0 in sizes:
        settled = _copied(x, sizes)
        if settled is None:
            return call.write.emit(reshape_to, x, sizes, copies=True)
        sizes = settled
    first, second = x.shape(0), x.shape(1)
    if call.write.relaxes_batch and first is not None and second is not None:
        sizes = relax_target(first, second, sizes)
    return call.write.emit(torch.reshape, x, sizes)


def _copied(x: Value, sizes: Axes) -> Axes | None:
    """Return the target with zeros replaced by the input's sizes, ``None`` if these are free."""
    static = x.static_shape
    if static is None:
        return None
    settled = tuple(static[axis] if size == 0 else size for axis, size in enumerate(sizes))
    if settled.count(None) == 1 and -1 not in settled:
        return tuple(-1 if size is None else size for size in settled)
    return None if None in settled else tuple(size for size in settled if size is not None)


def reshape_to(x: torch.Tensor, target: HostValue, *, copies: bool) -> torch.Tensor:
    """Reshape to sizes that are only known now."""
    sizes = target if isinstance(target, tuple) else (target,)
    if copies and 0 in sizes:
        sizes = tuple(x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes))
    return x.reshape(sizes)  # type: ignore[arg-type]


@operator("Flatten")
def flatten(call: Call) -> Value:
    """To a matrix: the axes before ``axis`` become rows."""
    axis = call.attribute("axis", 1)
    if axis == 1 and (call.value(0).rank or 0) >= 2:
        return call.write.emit(torch.flatten, call.tensor(0), 1)
    return call.write.emit(to_matrix, call.tensor(0), axis)


def to_matrix(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Flatten to two axes."""
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose")
def transpose(call: Call) -> Value:
    """Permute the axes; without ``perm`` reverse them."""
    order = call.attribute("perm") or range(call.rank(0) - 1, -1, -1)
    return call.write.emit(torch.permute, call.tensor(0), tuple(order))


def _axes(call: Call) -> Value | Axes | None:
    if call.has(1):
        found = call.numbers(1)
        return found if isinstance(found, Value) else call.fixed_list(1)
    axes = call.attribute("axes")
    return None if axes is None else tuple(axes)


@operator("Squeeze")
def squeeze(call: Call) -> Value:
    """Drop axes of size 1."""
    axes = _axes(call)
    if axes is None:
        return call.write.emit(torch.squeeze, call.tensor(0))
    return call.write.emit(
        squeeze_axes if isinstance(axes, Value) else torch.squeeze, call.tensor(0), axes
    )


def squeeze_axes(x: torch.Tensor, axes: HostValue) -> torch.Tensor:
    """Drop axes that are only known now."""
    return torch.squeeze(x, axes if isinstance(axes, tuple) else (axes,))  # type: ignore[arg-type]


@operator("Unsqueeze")
def unsqueeze(call: Call) -> Value:
    """Insert axes of size 1; positions count in the result."""
    axes = _axes(call) or ()
    if isinstance(axes, Value):
        return call.write.emit(unsqueeze_axes, call.tensor(0), axes)
    if any(axis < 0 for axis in axes) and len(axes) > 1:
        rank = call.rank(0) + len(axes)
        axes = tuple(axis % rank for axis in axes)
    value = call.tensor(0)
    for axis in sorted(axes):
        value = call.write.emit(torch.unsqueeze, value, axis)
    return value


def unsqueeze_axes(x: torch.Tensor, axes: HostValue) -> torch.Tensor:
    """Insert axes that are only known now."""
    positions = axes if isinstance(axes, tuple) else (axes,)
    rank = x.dim() + len(positions)
    for axis in sorted(int(axis) % rank for axis in positions):
        x = x.unsqueeze(axis)
    return x


@operator("Expand")
def expand(call: Call) -> Value:
    """Broadcast with a shape, in both directions.

    Repetition along a baked-in batch is left to whatever broadcasts the result.
    """
    x, target = call.tensor(0), call.numbers(1)
    static = x.static_shape
    if isinstance(target, tuple) and target and call.write.relaxes_batch and static is not None:
        is_repeated = len(target) == len(static) and target[0] == call.write.batch
        target = (1, *target[1:]) if is_repeated and static[0] == 1 else target
    if not isinstance(target, Value) and static is not None and None not in static:
        known = tuple(size for size in static if size is not None)
        sizes = tuple(int(size) for size in join(target))
        return call.write.emit(torch.broadcast_to, x, np.broadcast_shapes(known, sizes))
    return call.write.emit(expand_with, x, target)


def expand_with(x: torch.Tensor, target: HostValue) -> torch.Tensor:
    """Broadcast with sizes, where either may be 1."""
    sizes: Axes = torch.broadcast_shapes(x.shape, join(target))  # type: ignore[no-untyped-call]
    return x.expand(sizes)


@operator("Concat")
def concat(call: Call) -> Value:
    """Join along an axis; a constant with a baked-in batch of 1 is expanded first."""
    tensors, axis = call.tensors(), call.attribute("axis", 1)
    if call.write.relaxes_batch:
        shapes = [shape for tensor in tensors if (shape := tensor.shape(1)) is not None]
        rank = len(shapes[0]) if shapes else 0
        off_axis = {shape[: axis % rank] + shape[axis % rank + 1 :] for shape in shapes if rank}
        if len(off_axis) > 1 and differ_only_in_stale_batch(shapes, axis % rank):
            return call.write.emit(concat_expanded, tensors, axis)
    return call.write.emit(torch.cat, tensors, axis)


def concat_expanded(tensors: list[torch.Tensor], axis: int) -> torch.Tensor:
    """Join along an axis after expanding the other axes where they have size 1."""
    axis = axis % tensors[0].dim()
    common = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    expanded = [
        tensor.expand(*common[:axis], tensor.shape[axis], *common[axis + 1 :]) for tensor in tensors
    ]
    return torch.cat(expanded, axis)


@operator("Tile", since=6)
def tile(call: Call) -> Value:
    """Repeat along every axis."""
    return call.write.emit(tile_by, call.tensor(0), call.numbers(1))


def tile_by(x: torch.Tensor, repeats: HostValue) -> torch.Tensor:
    """Repeat ``x`` along its axes."""
    return torch.tile(x, repeats if isinstance(repeats, tuple) else (repeats,))  # type: ignore[arg-type]


@operator("Shape")
def shape(call: Call) -> Value:
    """Sizes, from ``start`` up to ``end``."""
    start, end = call.attribute("start", 0), call.attribute("end")
    sizes = call.write.shape(call.value(0))
    if start == 0 and end is None:
        return call.settle(sizes)
    return call.settle(call.write.emit_host(sizes_between, sizes, start, end, moves=True))


def sizes_between(sizes: Axes, start: int, end: int | None) -> Axes:
    """Return a part of the sizes; both ends are clamped."""
    return sizes[start:end]


@operator("Size")
def size(call: Call) -> Value:
    """Number of elements."""
    return call.settle(call.write.emit_host(math.prod, call.write.shape(call.value(0))))


@operator("Cast")
def cast(call: Call) -> Value:
    """Convert to another element type."""
    return _cast(call, call.attribute("to"))


@operator("CastLike")
def cast_like(call: Call) -> Value:
    """Convert to the element type of another tensor."""
    return _cast(call, call.element_type(1))


@operator("BitCast", since=26)
def bit_cast(call: Call) -> Value:
    """Read the same bits as another element type of the same size."""
    wanted = DTYPES.get(call.attribute("to"))
    if wanted is None or wanted.itemsize != call.dtype(0).itemsize:
        message = "to a type that torch cannot hold or of another size is not covered"
        raise UnsupportedVariant(message)
    return call.write.emit(reinterpreted, call.tensor(0), wanted)


def reinterpreted(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the bits of ``x`` as ``dtype``."""
    return x.view(dtype)


def _cast(call: Call, element_type: int) -> Value:
    if is_narrow(element_type):
        saturate, mode = bool(call.attribute("saturate", 1)), call.attribute("round_mode", "up")
        settings = {"saturate": saturate, "mode": mode}
        return call.write.emit(narrowed, call.tensor(0), element_type, **settings)
    wanted = DTYPES.get(element_type)
    if wanted is None:
        message = "to a type that torch cannot hold"
        raise UnsupportedVariant(message)
    if call.value(0).dtype == wanted:
        return call.value(0)
    return call.write.emit(converted, call.tensor(0), wanted)


def converted(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return ``x`` as ``dtype``."""
    return x.to(dtype)


@operator("Trilu")
def triangle(call: Call) -> Value:
    """Upper or lower triangle, the rest zero."""
    diagonal = call.numbers(1) if call.has(1) else 0
    upper = bool(call.attribute("upper", 1))
    return call.write.emit(triangle_of, call.tensor(0), diagonal, upper=upper)


def triangle_of(x: torch.Tensor, diagonal: HostValue, *, upper: bool) -> torch.Tensor:
    """Return ``x`` with what is below or above a diagonal zeroed."""
    number = int(only(diagonal))
    return torch.triu(x, number) if upper else torch.tril(x, number)
