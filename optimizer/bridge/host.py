"""Shape arithmetic in Python integers: what runs on the host instead of on a device tensor.

A *host value* is a number or a flat tuple of numbers, the Python form of an ONNX tensor of rank 0
or 1. Working on these needs no device, no synchronisation and no graph break. Every function is a
plain one so that a module that calls it can be copied and pickled.
"""

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

Number: TypeAlias = int | float | bool
HostValue: TypeAlias = Number | tuple[Number, ...]


def shape_of(x: torch.Tensor) -> tuple[int, ...]:
    """Return the sizes of ``x``."""
    return tuple(x.shape)


def cut(values: tuple[Number, ...], start: int, end: int, step: int) -> tuple[Number, ...]:
    """Slice along the only axis; ONNX clamps out-of-range ends as Python does."""
    if step < 0 and end < -len(values):
        return values[start::step]
    return values[start:end:step]


def join(*parts: HostValue) -> tuple[Number, ...]:
    """Concatenate; a scalar counts as one element (Unsqueeze is ``join`` of one scalar)."""
    flat: tuple[Number, ...] = ()
    for part in parts:
        flat += part if isinstance(part, tuple) else (part,)
    return flat


def only(values: HostValue) -> Number:
    """Return the single element (Squeeze, Reshape to a scalar)."""
    if not isinstance(values, tuple):
        return values
    (value,) = values
    return value


def elementwise(name: str, *operands: HostValue) -> HostValue:
    """Apply the operator ``name`` of ``FUNCTIONS`` element by element, broadcasting scalars."""
    function = FUNCTIONS[name]
    lengths = {len(operand) for operand in operands if isinstance(operand, tuple)}
    if not lengths:
        return function(*operands)
    length = max(lengths) if 0 not in lengths else 0
    spread = [
        operand
        if isinstance(operand, tuple) and len(operand) == length
        else (only(operand),) * length
        for operand in operands
    ]
    return tuple(function(*element) for element in zip(*spread, strict=True))


def reduce(name: str, values: HostValue, keepdims: bool) -> HostValue:  # noqa: FBT001
    """Reduce all elements by ``name`` of ``REDUCTIONS``."""
    result = REDUCTIONS[name](join(values))
    return (result,) if keepdims else result


def repeat(count: tuple[int, ...], value: Number) -> tuple[Number, ...]:
    """Return ``count[0]`` copies of ``value`` (ConstantOfShape of rank 1)."""
    return (value,) * count[0]


def to_list(x: torch.Tensor) -> HostValue:
    """Read a small tensor; synchronises when it lives on a device, so a last resort."""
    values: Any = x.tolist()
    return tuple(values) if isinstance(values, list) else values


def to_tensor(values: HostValue, dtype: torch.dtype, anchor: torch.Tensor) -> torch.Tensor:
    """Put a host value on the device of ``anchor``."""
    return torch.tensor(values, dtype=dtype, device=anchor.device)


def list_of(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return a sequence of tensors."""
    return list(tensors)


def _divide(left: Number, right: Number) -> Number:
    if isinstance(left, float) or isinstance(right, float):
        return left / right
    quotient = abs(left) // abs(right)  # ONNX truncates, Python floors
    return quotient if (left < 0) == (right < 0) else -quotient


def _choose(condition: Number, left: Number, right: Number) -> Number:
    return left if condition else right


FUNCTIONS: dict[str, Callable[..., Number]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _divide,
    "Mod": operator.mod,
    "Pow": operator.pow,
    "Min": min,
    "Max": max,
    "Neg": operator.neg,
    "Abs": abs,
    "Floor": math.floor,
    "Ceil": math.ceil,
    "Round": round,
    "Sqrt": math.sqrt,
    "Equal": operator.eq,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "Not": operator.not_,
    "And": operator.and_,
    "Or": operator.or_,
    "Where": _choose,
    "int": int,
    "float": float,
    "bool": bool,
}
REDUCTIONS: dict[str, Callable[..., Number]] = {
    "ReduceProd": math.prod,
    "ReduceSum": sum,
    "ReduceMin": min,
    "ReduceMax": max,
}
