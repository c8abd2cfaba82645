"""Pad in all modes."""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, Number, join
from optimizer.bridge.ops.windows import torch_padding
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("Pad")
def pad_attributes(call: Call) -> Value:
    """Version 2: pads and value are attributes."""
    pads = tuple(call.attribute("pads") or call.attribute("paddings"))
    return _pad(call, pads, None, call.attribute("value", 0.0))


@operator("Pad", since=11)
def pad_inputs(call: Call) -> Value:
    """From version 11: pads, value and (from 18) axes are inputs."""
    axes = call.numbers(3) if call.has(3) else None
    is_filled = call.has(2) and call.attribute("mode", "constant") == "constant"
    fill = call.operand(2, 0) if is_filled else 0
    if not isinstance(fill, Value):
        return _pad(call, call.numbers(1), axes, fill)
    mask = call.write.emit(torch.ones_like, call.tensor(0), dtype=torch.bool)
    pads = call.numbers(1)
    zeros = call.write.emit(pad, call.tensor(0), pads, axes, "constant", 0)
    inside = call.write.emit(pad, mask, pads, axes, "constant", 0)
    return call.write.emit(torch.where, inside, zeros, fill)


def _pad(
    call: Call, pads: Value | HostValue, axes: Value | HostValue | None, fill: Number
) -> Value:
    mode = call.attribute("mode", "constant")
    x = call.tensor(0)
    is_known = mode == "constant" and x.rank is not None and not isinstance(axes, Value)
    if isinstance(pads, tuple) and is_known:
        assert x.rank is not None
        assert not isinstance(axes, Value)
        begin, end = _per_axis(pads, axes, x.rank)
        skip = next((axis for axis in range(x.rank) if begin[axis] or end[axis]), None)
        if skip is None:
            return x
        return call.write.emit(
            functional.pad, x, torch_padding(begin[skip:], end[skip:]), mode, fill
        )
    return call.write.emit(pad, x, pads, axes, mode, fill)


def _per_axis(
    pads: tuple[Number, ...], axes: HostValue | None, rank: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return begin and end padding of all axes."""
    given = range(rank) if axes is None else [int(axis) for axis in join(axes)]
    begin, end = [0] * rank, [0] * rank
    for position, axis in enumerate(given):
        begin[axis] = int(pads[position])
        end[axis] = int(pads[position + len(given)])
    return tuple(begin), tuple(end)


def pad(
    x: torch.Tensor, pads: HostValue, axes: HostValue | None, mode: str, fill: Number
) -> torch.Tensor:
    """Pad ``x``; negative pads crop. Modes other than constant pick positions axis by axis."""
    assert isinstance(pads, tuple)
    begin, end = _per_axis(pads, axes, x.dim())
    if mode == "constant":
        return functional.pad(x, torch_padding(begin, end), "constant", fill)
    for axis, (before, after) in enumerate(zip(begin, end, strict=True)):
        if before or after:
            size = x.shape[axis]
            wanted = torch.arange(-before, size + after, device=x.device)
            x = x.index_select(axis, _SOURCES[mode](wanted, size))
    return x


def _reflected(wanted: torch.Tensor, size: int) -> torch.Tensor:
    period = max(2 * (size - 1), 1)
    inside = torch.remainder(wanted, period)
    return torch.where(inside >= size, period - inside, inside)


def _nearest(wanted: torch.Tensor, size: int) -> torch.Tensor:
    return torch.clamp(wanted, 0, size - 1)


def _wrapped(wanted: torch.Tensor, size: int) -> torch.Tensor:
    return torch.remainder(wanted, size)


_SOURCES = {"reflect": _reflected, "edge": _nearest, "wrap": _wrapped}
