"""QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear with straight-through gradients.

An integer tensor carries no gradient, so a quantised value exists twice: as *levels*, floats that
hold its numbers, and as what ONNX says it is. A DequantizeLinear takes the levels where it finds
them: directly behind the quantisation, or with data movement between. Rounding counts as the
identity for the gradient, clipping as what it is, so scales that are computed get theirs as well.
"""

import operator as operators
from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import fx

from optimizer.bridge.arrays import DTYPES, dtype_of
from optimizer.bridge.call import Call
from optimizer.bridge.narrow import FLOAT8, INTEGERS, to_float4, to_float8
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.slots import MICROSOFT
from optimizer.bridge.values import Value

_MOVES: frozenset[Callable[..., torch.Tensor]] = frozenset(
    {
        torch.permute,
        torch.reshape,
        torch.flatten,
        torch.squeeze,
        torch.unsqueeze,
        operators.getitem,
    }
)


@operator("QuantizeLinear")
@operator("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(call: Call) -> Value:
    """``saturate(round(x / scale) + zero point)`` for a tensor, along an axis, or in blocks.

    Divides in ``precision``, or as ONNX Runtime does in single precision, whatever the inputs.
    """
    kind = _target(call)
    precision = DTYPES[call.attribute("precision", 0) or TensorProto.FLOAT]
    x, scale = call.tensor(0), _aligned(call, call.tensor(1))
    divided = call.write.emit(quotient, x, scale, precision)
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        zero = _zero_point(call, 2)
        levels = call.write.emit(to_integers, divided, zero, low, high)
    elif kind in FLOAT8:
        saturate = bool(call.attribute("saturate", 1))
        levels = call.write.emit(to_float8_levels, divided, DTYPES[kind], saturate=saturate)
    elif kind == TensorProto.FLOAT4E2M1:
        return call.write.emit(to_float4_levels, divided)  # held as floats anyhow
    else:
        message = f"to {TensorProto.DataType.Name(kind)} is not covered"
        raise UnsupportedVariant(message)
    return call.write.emit(as_stored, levels, dtype_of(kind))


@operator("DequantizeLinear")
@operator("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(call: Call) -> Value:
    """``(x - zero point) * scale`` for a tensor, along an axis, or in blocks."""
    wanted = DTYPES[call.attribute("output_dtype", 0) or call.element_type(1)]
    scale = _aligned(call, call.tensor(1))
    if call.dtype(0) == torch.int32:  # too many digits for a float before the subtraction
        exact = _aligned(call, call.tensor(2)) if call.has(2) else 0
        shifted = call.write.emit(torch.sub, call.tensor(0), exact)
        return call.write.emit(times_scale, shifted, scale, None, wanted)
    return call.write.emit(times_scale, _levels(call), scale, _zero_point(call, 2), wanted)


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(call: Call) -> list[Value]:
    """Quantise to uint8 by the range of the data, which is made to contain 0."""
    levels, scale, zero = call.write.emit_many(3, by_range, call.tensor(0))
    stored = call.write.emit(as_stored, levels, torch.uint8)
    return [stored, scale, call.write.emit(as_stored, zero, torch.uint8)]


def quotient(x: torch.Tensor, scale: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Divide in ``precision``; the result has room for every level."""
    return (x.to(precision) / scale.to(precision)).to(torch.float32)


def straight_through(x: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """Return ``rounded``, bit for bit, with the gradient of ``x``.

    ``x + (rounded - x)`` is exact because ``rounded`` is 0 or within a factor of 2 of ``x``.
    """
    return x + (rounded - x).detach()


def to_integers(x: torch.Tensor, zero: torch.Tensor | None, low: int, high: int) -> torch.Tensor:
    """Round, ties to even, add the zero point and stay within bounds."""
    if zero is None:
        clipped = x.clamp(low, high)
        return straight_through(clipped, clipped.detach().round())
    clipped = torch.minimum(torch.maximum(x, low - zero), high - zero)
    return straight_through(clipped, clipped.detach().round()) + zero


def to_float8_levels(x: torch.Tensor, dtype: torch.dtype, *, saturate: bool) -> torch.Tensor:
    """Round to the numbers of a float8 type."""
    limit = torch.finfo(dtype).max
    inside = x.clamp(-limit, limit)
    rounded = to_float8(x.detach(), dtype, saturate=saturate).to(torch.float32)
    if saturate:
        return straight_through(inside, rounded)
    return rounded + (inside - inside.detach())  # NaN and infinity would spread by the other way


def to_float4_levels(x: torch.Tensor) -> torch.Tensor:
    """Round to the numbers of float4 E2M1."""
    inside = x.clamp(-6.0, 6.0)
    return straight_through(inside, to_float4(inside.detach()))


def as_stored(levels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return levels as the type that ONNX says; no gradient passes."""
    return levels.detach().to(dtype)


def times_scale(
    x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, wanted: torch.dtype
) -> torch.Tensor:
    """Return ``(x - zero) * scale`` as ``wanted``."""
    wide = x.to(torch.float32)
    shifted = wide if zero is None else wide - zero
    return (shifted * scale.to(torch.float32)).to(wanted)


def by_range(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return levels of uint8, the scale, and the zero point as a float."""
    low, high = torch.aminmax(x)
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    span = (high - low) / 255
    scale = torch.where(span == 0, torch.ones_like(span), span)
    zero = (-low / scale).detach().round().clamp(0, 255)
    return to_integers(x / scale, zero, 0, 255), scale, zero


def repeated(x: torch.Tensor, axis: int, block: int, length: int) -> torch.Tensor:
    """Repeat every element along ``axis`` as often as its block is long; the last may be short."""
    return x.repeat_interleave(block, axis).narrow(axis, 0, length)


def _target(call: Call) -> int:
    """ONNX element type of the result."""
    if call.has(2):
        return call.element_type(2)
    return int(call.attribute("output_dtype", 0)) or TensorProto.UINT8


def _zero_point(call: Call, position: int) -> Value | None:
    """Return the zero point as a float that lines up with input 0; ``None`` if it is 0."""
    if not call.has(position):
        return None
    zero = call.tensor(position)
    if zero.constant is not None and not zero.constant.to(torch.float32).any():
        return None
    return _aligned(call, call.write.emit(as_stored, zero, torch.float32))


def _aligned(call: Call, parameter: Value) -> Value:
    """Shape a scale or zero point so that it broadcasts over input 0.

    1. A single number is for the whole tensor, whatever its axes.
    2. A vector belongs to ``axis``.
    3. With ``block_size`` it has the axes of input 0, and one element per block along ``axis``.
    """
    sizes = parameter.shape()
    if sizes is None:
        message = "with scales of a shape that is not known is not covered"
        raise UnsupportedVariant(message)
    if all(size == 1 for size in sizes):
        return call.write.emit(torch.reshape, parameter, ())
    rank = call.rank(0)
    axis, block = call.attribute("axis", 1) % rank, call.attribute("block_size", 0)
    if not block:
        return call.write.emit(torch.reshape, parameter, (-1, *(1,) * (rank - axis - 1)))
    static = call.value(0).static_shape
    length = None if static is None else static[axis]
    if length is None:
        message = "in blocks along an axis of unknown size is not covered"
        raise UnsupportedVariant(message)
    return call.write.emit(repeated, parameter, axis, block, length)


def _levels(call: Call) -> Value:
    """Return input 0, or the levels it was stored from, moved as it was."""
    stored = call.tensor(0)
    node, moves = stored.node, []
    while isinstance(node, fx.Node) and node.target in _MOVES and _is_plain(node):
        moves.append(node)
        node = node.args[0]  # type: ignore[assignment]
    if not isinstance(node, fx.Node) or node.target is not as_stored:
        return stored
    levels = node.args[0]
    assert isinstance(levels, fx.Node)
    probes = tuple(None if p is None else p.to(torch.float32) for p in stored.probes)
    if not moves:
        first, second = probes
        return Value(dtype=torch.float32, node=levels, probes=(first, second))
    moved = Value(dtype=torch.float32, node=levels)
    for move in reversed(moves):
        moved = call.write.emit(move.target, moved, *move.args[1:], **move.kwargs)  # type: ignore[arg-type]
    first, second = probes
    return Value(dtype=torch.float32, node=moved.node, probes=(first, second))


def _is_plain(node: fx.Node) -> bool:
    """Whether a node moves one tensor by numbers that are known."""
    return node.all_input_nodes == [node.args[0]]
