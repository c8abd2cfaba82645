"""Elementwise functions of one tensor."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.registry import Translator, operator
from optimizer.bridge.values import Value

_PLAIN: dict[str, Callable[..., torch.Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Det": torch.det,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}


def _plain(function: Callable[..., torch.Tensor]) -> Translator:
    def translate(call: Call) -> Value:
        return call.write.emit(function, call.tensor(0))

    return translate


for _op_type, _function in _PLAIN.items():
    operator(_op_type)(_plain(_function))


def _with_attributes(
    function: Callable[..., torch.Tensor], **attributes: tuple[str, Any]
) -> Translator:
    """Pass attributes on as keywords: ``keyword=(attribute, default)``."""

    def translate(call: Call) -> Value:
        keywords = {
            keyword: call.attribute(attribute, default)
            for keyword, (attribute, default) in attributes.items()
        }
        return call.write.emit(function, call.tensor(0), **keywords)

    return translate


operator("Elu")(_with_attributes(functional.elu, alpha=("alpha", 1.0)))
operator("Celu")(_with_attributes(functional.celu, alpha=("alpha", 1.0)))
operator("LeakyRelu")(_with_attributes(functional.leaky_relu, negative_slope=("alpha", 0.01)))


@operator("Gelu")
def gelu(call: Call) -> Value:
    """Gaussian error linear unit, exact or by tanh."""
    approximate = call.attribute("approximate", "none")
    return call.write.emit(functional.gelu, call.tensor(0), approximate=approximate)


@operator("ThresholdedRelu")
def thresholded_relu(call: Call) -> Value:
    """Keep what is above ``alpha``."""
    return call.write.emit(functional.threshold, call.tensor(0), call.attribute("alpha", 1.0), 0.0)


@operator("Swish")
def swish(call: Call) -> Value:
    """``x * sigmoid(alpha * x)``."""
    alpha = call.attribute("alpha", 1.0)
    if alpha == 1.0:
        return call.write.emit(functional.silu, call.tensor(0))
    return call.write.emit(scaled_swish, call.tensor(0), alpha)


@operator("SwiGLU", since=28)
def swiglu(call: Call) -> Value:
    """Swish of one input as a gate of the other."""
    return call.write.emit(torch.mul, swish(call), call.tensor(1))


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> Value:
    """``clip(alpha * x + beta, 0, 1)``; with PyTorch's constants its own kernel."""
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return call.write.emit(functional.hardsigmoid, call.tensor(0))
    return call.write.emit(clipped_line, call.tensor(0), alpha, beta)


@operator("Selu")
def selu(call: Call) -> Value:
    """Scaled exponential linear unit."""
    alpha = call.attribute("alpha", 1.6732632423543772)
    gamma = call.attribute("gamma", 1.0507009873554805)
    return call.write.emit(scaled_elu, call.tensor(0), alpha, gamma)


@operator("Shrink")
def shrink(call: Call) -> Value:
    """Move what is beyond ``lambd`` towards 0 by ``bias``; the rest is 0."""
    lambd, bias = call.attribute("lambd", 0.5), call.attribute("bias", 0.0)
    return call.write.emit(shrunk, call.tensor(0), lambd, bias)


@operator("IsInf")
def is_inf(call: Call) -> Value:
    """Whether an element is infinite, of the signs that are asked for."""
    positive, negative = call.attribute("detect_positive", 1), call.attribute("detect_negative", 1)
    if positive and negative:
        return call.write.emit(torch.isinf, call.tensor(0))
    signs = tuple(
        sign for sign, asked in ((float("inf"), positive), (-float("inf"), negative)) if asked
    )
    return call.write.emit(equals_any, call.tensor(0), signs)


@operator("PRelu")
def prelu_of_channels(call: Call) -> Value:
    """Before version 7: one slope, or one per channel, which broadcasting did not say."""
    slope, rank = call.tensor(1), call.rank(0)
    sizes = (-1, *(1 for _ in range(rank - 2)))
    return call.write.emit(sloped, call.tensor(0), call.write.emit(torch.reshape, slope, sizes))


@operator("PRelu", since=7)
def prelu(call: Call) -> Value:
    """Leaky ReLU with a slope that is trained; one per channel has a kernel of its own."""
    slope, x = call.tensor(1), call.tensor(0)
    sizes, rank = slope.shape(), x.rank
    if sizes is not None and rank is not None and rank >= 2 and not _per_channel(sizes, rank):
        return call.write.emit(sloped, x, slope)
    if sizes is None or rank is None or rank < 2:
        return call.write.emit(sloped, x, slope)
    return call.write.emit(functional.prelu, x, call.write.emit(torch.flatten, slope))


def _per_channel(sizes: tuple[int, ...], rank: int) -> bool:
    return len(sizes) == rank - 1 and all(size == 1 for size in sizes[1:])


def scaled_swish(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return ``x * sigmoid(alpha * x)``."""
    return x * torch.sigmoid(x * alpha)


def clipped_line(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Return ``clip(alpha * x + beta, 0, 1)``."""
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def scaled_elu(x: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """Return ``gamma * elu(x, alpha)``."""
    return functional.elu(x, alpha) * gamma


def shrunk(x: torch.Tensor, lambd: float, bias: float) -> torch.Tensor:
    """Return ``x + bias`` below ``-lambd``, ``x - bias`` above ``lambd``, 0 between."""
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))


def equals_any(x: torch.Tensor, numbers: tuple[float, ...]) -> torch.Tensor:
    """Return whether each element is one of ``numbers``."""
    found = torch.zeros_like(x, dtype=torch.bool)
    for number in numbers:
        found = found | (x == number)
    return found


def sloped(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Return ``x`` where positive, ``slope * x`` elsewhere; ``slope`` is broadcast."""
    return torch.where(x < 0, x * slope, x)
