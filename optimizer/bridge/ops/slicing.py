"""Parts of a tensor: Slice and Split."""

import operator as python_operator

import torch

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, join
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("Split")
def split(call: Call) -> list[Value]:
    """Cut along an axis into given sizes, or into equal parts of which the last may be smaller."""
    axis, count = call.attribute("axis", 0), len(call.node.output)
    sizes = call.numbers(1) if call.has(1) else tuple(call.attribute("split", ()))
    if sizes == ():
        return call.write.emit_many(count, split_equally, call.tensor(0), count, axis)
    return call.write.emit_many(count, split_sizes, call.tensor(0), sizes, axis)


def split_sizes(x: torch.Tensor, sizes: HostValue, axis: int) -> tuple[torch.Tensor, ...]:
    """Cut along ``axis`` into ``sizes``."""
    return x.split(join(sizes), axis)  # type: ignore[no-untyped-call, no-any-return]


def split_equally(x: torch.Tensor, count: int, axis: int) -> tuple[torch.Tensor, ...]:
    """Cut along ``axis`` into ``count`` parts of ``ceil(size / count)``."""
    part = -(-x.shape[axis] // count)
    return x.split(part, axis)  # type: ignore[no-untyped-call, no-any-return]


@operator("Slice")
def slice_attributes(call: Call) -> Value:
    """Version 1: everything is an attribute."""
    starts, ends = call.attribute("starts"), call.attribute("ends")
    axes = call.attribute("axes") or range(len(starts))
    return _sliced(call, tuple(starts), tuple(ends), tuple(axes), (1,) * len(starts))


@operator("Slice", since=10)
def slice_inputs(call: Call) -> Value:
    """From version 10: everything is an input."""
    starts, ends = call.numbers(1), call.numbers(2)
    axes = call.numbers(3) if call.has(3) else None
    steps = call.numbers(4) if call.has(4) else None
    return _sliced(call, starts, ends, axes, steps)


def _sliced(
    call: Call,
    starts: Value | HostValue,
    ends: Value | HostValue,
    axes: Value | HostValue | None,
    steps: Value | HostValue | None,
) -> Value:
    x = call.tensor(0)
    cuts = _cuts(starts, ends, axes, steps)
    if cuts is None or any(step < 0 or (axis < 0 and x.rank is None) for axis, _, _, step in cuts):
        return call.write.emit(slice_axes, x, starts, ends, axes, steps)
    ranges: dict[int, slice] = {}
    for axis, start, end, step in cuts:
        positive = axis % x.rank if axis < 0 and x.rank else axis
        if not call.write.grows(x, positive):
            ranges[positive] = slice(start, end, step)
        elif start != 0 or end < (x.shape() or ())[positive]:
            call.write.binds_batch = True  # names samples of a baked-in batch
    if not ranges:
        return x
    keys = tuple(ranges.get(axis, slice(None)) for axis in range(max(ranges) + 1))
    return call.write.emit(python_operator.getitem, x, keys)


def _cuts(
    *bounds: Value | HostValue | None,
) -> list[tuple[int, int, int, int]] | None:
    """Return ``(axis, start, end, step)`` per slice, ``None`` if some are not known at import."""
    if any(isinstance(bound, Value) for bound in bounds):
        return None
    starts, ends, axes, steps = (None if bound is None else join(bound) for bound in bounds)  # type: ignore[arg-type]
    assert starts is not None
    assert ends is not None
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    found = zip(axes, starts, ends, steps, strict=True)
    return [tuple(int(number) for number in cut) for cut in found]  # type: ignore[misc]


def slice_axes(
    x: torch.Tensor,
    starts: HostValue,
    ends: HostValue,
    axes: HostValue | None,
    steps: HostValue | None,
) -> torch.Tensor:
    """Slice along ``axes`` (default: the first ones); a negative step walks backwards."""
    starts, ends = join(starts), join(ends)
    along = tuple(range(len(starts))) if axes is None else join(axes)
    by = (1,) * len(starts) if steps is None else join(steps)
    for bounds in zip(starts, ends, along, by, strict=True):
        start, end, axis, step = (int(bound) for bound in bounds)
        size = x.shape[axis]
        positions = range(size)[_range(start, end, step, size)]
        if step == 1:
            x = x.narrow(axis, positions.start if len(positions) else 0, len(positions))
        else:
            index = torch.arange(len(positions), device=x.device) * step + positions.start
            x = x.index_select(axis, index)
    return x


def _range(start: int, end: int, step: int, size: int) -> slice:
    """Return ONNX's slice as Python's: walking backwards, an end before the first is "all"."""
    if step < 0 and end < -size:
        return slice(start, None, step)
    return slice(start, end, step)
