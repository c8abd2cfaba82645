"""Elementwise operators of two and more tensors, with NumPy broadcasting."""

from collections.abc import Callable

import torch

from optimizer.bridge.call import Call
from optimizer.bridge.registry import Translator, operator
from optimizer.bridge.values import Value

_BINARY: dict[str, Callable[..., torch.Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}


def _binary(function: Callable[..., torch.Tensor]) -> Translator:
    def translate(call: Call) -> Value:
        _refuse_legacy_broadcast(call)
        return _emit(call, function)

    return translate


for _op_type, _function in _BINARY.items():
    operator(_op_type)(_binary(_function))


def _emit(call: Call, function: Callable[..., torch.Tensor]) -> Value:
    """Write a binary call; a constant with one element becomes a number on the right side."""
    left, right = call.tensor(0), call.tensor(1)
    if left.constant is not None and right.constant is not None:
        return call.write.emit(function, left, right)
    second = call.operand(1, left.rank)
    if isinstance(second, Value) and function in _SYMMETRIC:
        first = call.operand(0, right.rank)
        if not isinstance(first, Value):
            return call.write.emit(function, right, first)
    return call.write.emit(function, left, second)


_SYMMETRIC = frozenset({torch.add, torch.mul, torch.eq})


def _refuse_legacy_broadcast(call: Call) -> None:
    call.require("axis", None, covered=None)  # opset 6: broadcasting from an axis on


@operator("Div")
def divide(call: Call) -> Value:
    """Divide; integers are truncated towards zero."""
    _refuse_legacy_broadcast(call)
    if call.dtype(0).is_floating_point:
        return _emit(call, torch.div)
    return call.write.emit(torch.div, call.tensor(0), call.tensor(1), rounding_mode="trunc")


@operator("Mod")
def modulo(call: Call) -> Value:
    """Remainder with the sign of the divisor, or of the dividend with ``fmod``."""
    return _emit(call, torch.fmod if call.attribute("fmod", 0) else torch.remainder)


@operator("Pow")
def power(call: Call) -> Value:
    """Raise to a power; the result has the type of the base."""
    exponent, dtype = call.operand(1, call.value(0).rank), call.dtype(0)
    if not isinstance(exponent, Value) and dtype.is_floating_point:
        return call.write.emit(torch.pow, call.tensor(0), exponent)
    return call.write.emit(typed_power, call.tensor(0), call.tensor(1))


@operator("BitShift")
def bit_shift(call: Call) -> Value:
    """Shift to the left or right."""
    left = call.attribute("direction") == "LEFT"
    function = torch.bitwise_left_shift if left else torch.bitwise_right_shift
    return call.write.emit(function, call.tensor(0), call.tensor(1))


@operator("Where")
def where(call: Call) -> Value:
    """Choose between two tensors."""
    condition, left, right = (call.tensor(position) for position in range(3))
    return call.write.emit(torch.where, condition, left, right)


def _variadic(pairwise: Callable[..., torch.Tensor]) -> Translator:
    def translate(call: Call) -> Value:
        first, *rest = call.tensors()
        for other in rest:
            first = call.write.emit(pairwise, first, other)
        return first

    return translate


operator("Sum")(_variadic(torch.add))
operator("Min")(_variadic(torch.minimum))
operator("Max")(_variadic(torch.maximum))


@operator("Mean")
def mean(call: Call) -> Value:
    """Mean over the inputs."""
    total = _variadic(torch.add)(call)
    assert isinstance(total, Value)
    return call.write.emit(torch.div, total, len(call.tensors()))


@operator("Clip")
def clip_attributes(call: Call) -> Value:
    """Versions 1 and 6: bounds are attributes."""
    low, high = call.attribute("min"), call.attribute("max")
    if low is None and high is None:
        return call.tensor(0)
    return call.write.emit(torch.clamp, call.tensor(0), low, high)


@operator("Clip", since=11)
def clip(call: Call) -> Value:
    """Bounds are optional scalar inputs; where they cross, the upper one wins."""
    low = call.operand(1, 0) if call.has(1) else None
    high = call.operand(2, 0) if call.has(2) else None
    if low is None and high is None:
        return call.tensor(0)
    if isinstance(low, Value) or isinstance(high, Value):
        bounds = [call.tensor(position) if call.has(position) else None for position in (1, 2)]
        return call.write.emit(torch.clamp, call.tensor(0), *bounds)
    return call.write.emit(torch.clamp, call.tensor(0), low, high)


def typed_power(base: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Return ``base ** exponent`` in the type of ``base``, whatever that of the exponent."""
    return torch.pow(base, exponent).to(base.dtype)
