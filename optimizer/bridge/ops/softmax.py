"""Softmax and its relatives along one axis."""

from collections.abc import Callable

import torch

from optimizer.bridge.call import Call
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("Softmax", since=13)
def softmax(call: Call) -> Value:
    """Softmax along one axis."""
    return call.write.emit(torch.softmax, call.tensor(0), call.attribute("axis", -1))


@operator("LogSoftmax", since=13)
def log_softmax(call: Call) -> Value:
    """Logarithm of softmax along one axis."""
    return call.write.emit(torch.log_softmax, call.tensor(0), call.attribute("axis", -1))


@operator("Hardmax", since=13)
def hardmax(call: Call) -> Value:
    """One at the first maximum along an axis, zero elsewhere."""
    return call.write.emit(one_at_maximum, call.tensor(0), call.attribute("axis", -1))


@operator("Softmax", "LogSoftmax", "Hardmax")
def flattened(call: Call) -> Value:
    """Up to version 11: over all axes from ``axis`` on together."""
    rank = call.rank(0)
    axis = call.attribute("axis", 1)
    axis = axis % rank if axis < 0 else axis
    function = _FUNCTIONS[call.node.op_type]
    if axis == rank - 1:
        return call.write.emit(function, call.tensor(0), axis)
    return call.write.emit(over_flattened, call.tensor(0), call.node.op_type, axis)


def over_flattened(x: torch.Tensor, op_type: str, axis: int) -> torch.Tensor:
    """Apply a function along the axes from ``axis`` on, flattened."""
    rows = x.reshape(*x.shape[:axis], -1)
    return _FUNCTIONS[op_type](rows, axis).reshape(x.shape)


def one_at_maximum(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Return ones at the first maximum along ``axis``."""
    position = torch.argmax(x, axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, position, 1.0)


_FUNCTIONS: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "Softmax": torch.softmax,
    "LogSoftmax": torch.log_softmax,
    "Hardmax": one_at_maximum,
}
