"""Activations of ONNX Runtime's own domain (com.microsoft), alone or at the end of an operator."""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.ops.activation import clipped_line, scaled_elu, scaled_swish
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.slots import MICROSOFT
from optimizer.bridge.values import Value

_PLAIN: dict[str, Callable[..., torch.Tensor]] = {
    "HardSwish": functional.hardswish,  # whatever parameters come with it
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Tanh": torch.tanh,
}


@operator("Gelu", domain=MICROSOFT)
def gelu(call: Call) -> Value:
    """Gaussian error linear unit, exact."""
    return call.write.emit(functional.gelu, call.tensor(0))


@operator("BiasGelu", domain=MICROSOFT)
def bias_gelu(call: Call) -> Value:
    """Add a bias along the last axis, then the exact Gaussian error linear unit."""
    total = call.write.emit(torch.add, call.tensor(0), call.tensor(1))
    return call.write.emit(functional.gelu, total)


@operator("FastGelu", domain=MICROSOFT)
def fast_gelu(call: Call) -> Value:
    """The same by tanh; the bias may be left out."""
    x = call.tensor(0)
    if call.has(1):
        x = call.write.emit(torch.add, x, call.tensor(1))
    return call.write.emit(functional.gelu, x, approximate="tanh")


@operator("QuickGelu", domain=MICROSOFT)
def quick_gelu(call: Call) -> Value:
    """``x * sigmoid(alpha * x)``; with alpha 1 it is SiLU, which torch has a kernel for."""
    alpha = call.attribute("alpha", 1.702)
    if alpha == 1.0:
        return call.write.emit(functional.silu, call.tensor(0))
    return call.write.emit(scaled_swish, call.tensor(0), alpha)


@operator("BiasSoftmax", domain=MICROSOFT)
def bias_softmax(call: Call) -> Value:
    """Softmax of a sum, over all axes from ``axis`` on; the bias is broadcast as NumPy does."""
    axis, rank = call.attribute("axis", 1), call.rank(0)
    total = call.write.emit(torch.add, call.tensor(0), call.tensor(1))
    if axis % rank == rank - 1:
        return call.write.emit(functional.softmax, total, -1)
    return call.write.emit(softmax_from_axis, total, axis % rank)


def softmax_from_axis(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the softmax over all axes from ``axis`` on, taken as one."""
    return functional.softmax(x.flatten(axis), -1).reshape(x.shape)


def activate(call: Call, x: Value, name: str, parameters: Sequence[float]) -> Value:
    """Write the activation that a fused operator names.

    Args:
        call: The node.
        x: What it is applied to.
        name: ONNX operator; empty for none.
        parameters: Its attributes, in the order of the operator's alpha, beta, gamma or min, max.

    Raises:
        UnsupportedVariant: The activation is none that a runtime fuses, or lacks parameters.
    """
    if not name or name == "Identity":
        return x
    if name in _PLAIN:
        return call.write.emit(_PLAIN[name], x)
    try:
        function, arguments = _with_parameters(name, tuple(parameters))
    except ValueError as error:
        message = f"with activation={name!r} and parameters {tuple(parameters)} is not covered"
        raise UnsupportedVariant(message) from error
    return call.write.emit(function, x, *arguments)


def _with_parameters(
    name: str, parameters: tuple[float, ...]
) -> tuple[Callable[..., torch.Tensor], tuple[float, ...]]:
    if name == "LeakyRelu":
        (slope,) = parameters or (0.01,)
        return functional.leaky_relu, (slope,)
    if name in ("Celu", "Elu"):
        (alpha,) = parameters or (1.0,)
        return functional.elu if name == "Elu" else functional.celu, (alpha,)
    if name == "ThresholdedRelu":
        (alpha,) = parameters or (1.0,)
        return functional.threshold, (alpha, 0.0)
    if name == "Clip":
        low, high = parameters
        return torch.clamp, (low, high)
    if name == "HardSigmoid":
        alpha, beta = parameters or (0.2, 0.5)
        return clipped_line, (alpha, beta)
    if name == "ScaledTanh":
        alpha, beta = parameters
        return scaled_tanh, (alpha, beta)
    if name == "Selu":
        alpha, gamma = parameters or (1.6732632423543772, 1.0507009873554805)
        return scaled_elu, (alpha, gamma)
    raise ValueError(name)


def scaled_tanh(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Return ``alpha * tanh(beta * x)``."""
    return torch.tanh(x * beta) * alpha
