"""Operators that draw random numbers, in evaluation as in training."""

import torch

from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.call import Call
from optimizer.bridge.random_draws import Drawing
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value


@operator("RandomNormal")
def random_normal(call: Call) -> Value:
    """Normally distributed numbers of a fixed shape."""
    module = Normal(call.attribute("seed"), *_normal(call), _dtype(call, torch.float32))
    return _fixed(call, module)


@operator("RandomNormalLike")
def random_normal_like(call: Call) -> Value:
    """The same, shaped like the input."""
    return _like(call, Normal(call.attribute("seed"), *_normal(call), _dtype_like(call)))


@operator("RandomUniform")
def random_uniform(call: Call) -> Value:
    """Uniformly distributed numbers of a fixed shape."""
    module = Uniform(call.attribute("seed"), *_uniform(call), _dtype(call, torch.float32))
    return _fixed(call, module)


@operator("RandomUniformLike")
def random_uniform_like(call: Call) -> Value:
    """The same, shaped like the input."""
    return _like(call, Uniform(call.attribute("seed"), *_uniform(call), _dtype_like(call)))


@operator("Bernoulli")
def bernoulli(call: Call) -> Value:
    """1 with the probability that the input says, else 0."""
    module = Bernoulli(call.attribute("seed"), _dtype_like(call))
    return call.write.emit_module("draw", module, 1, call.tensor(0))[0]


@operator("Multinomial")
def multinomial(call: Call) -> Value:
    """Numbers of classes by their unnormalised log-probabilities, ``sample_size`` per row."""
    count, dtype = call.attribute("sample_size", 1), _dtype(call, torch.int32)
    module = Multinomial(call.attribute("seed"), count, dtype)
    return call.write.emit_module("draw", module, 1, call.tensor(0))[0]


class Normal(Drawing):
    """``mean + scale * n`` with n of the standard normal distribution."""

    def __init__(self, seed: float | None, mean: float, scale: float, dtype: torch.dtype) -> None:
        super().__init__(seed)
        self.mean = mean
        self.scale = scale
        self.dtype = dtype

    def forward(self, anchor: torch.Tensor, shape: tuple[int, ...] | None) -> torch.Tensor:
        """Draw on the device of ``anchor``, in its shape if ``shape`` is not given."""
        sizes = anchor.shape if shape is None else shape
        drawn = torch.randn(
            sizes, generator=self.generator(anchor.device), dtype=self.dtype, device=anchor.device
        )
        return drawn * self.scale + self.mean


class Uniform(Drawing):
    """Uniform from ``low`` up to ``high``."""

    def __init__(self, seed: float | None, low: float, high: float, dtype: torch.dtype) -> None:
        super().__init__(seed)
        self.low = low
        self.high = high
        self.dtype = dtype

    def forward(self, anchor: torch.Tensor, shape: tuple[int, ...] | None) -> torch.Tensor:
        """Draw on the device of ``anchor``, in its shape if ``shape`` is not given."""
        sizes = anchor.shape if shape is None else shape
        drawn = torch.rand(
            sizes, generator=self.generator(anchor.device), dtype=self.dtype, device=anchor.device
        )
        return drawn * (self.high - self.low) + self.low


class Bernoulli(Drawing):
    """Draws zeros and ones."""

    def __init__(self, seed: float | None, dtype: torch.dtype) -> None:
        super().__init__(seed)
        self.dtype = dtype

    def forward(self, probability: torch.Tensor) -> torch.Tensor:
        """Draw one number per probability."""
        drawn = torch.rand(
            probability.shape,
            generator=self.generator(probability.device),
            dtype=probability.dtype,
            device=probability.device,
        )
        return (drawn < probability).to(self.dtype)


class Multinomial(Drawing):
    """Draws numbers of classes."""

    def __init__(self, seed: float | None, count: int, dtype: torch.dtype) -> None:
        super().__init__(seed)
        self.count = count
        self.dtype = dtype

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw ``(batch, count)`` by ``(batch, classes)``; a class may come several times."""
        chances = torch.softmax(logits.detach().to(torch.float32), -1)
        drawn = torch.multinomial(
            chances, self.count, replacement=True, generator=self.generator(logits.device)
        )
        return drawn.to(self.dtype)


def _fixed(call: Call, module: Drawing) -> Value:
    shape = tuple(call.attribute("shape"))
    return call.write.emit_module("draw", module, 1, call.write.anchor, shape)[0]


def _like(call: Call, module: Drawing) -> Value:
    return call.write.emit_module("draw", module, 1, call.tensor(0), None)[0]


def _normal(call: Call) -> tuple[float, float]:
    return call.attribute("mean", 0.0), call.attribute("scale", 1.0)


def _uniform(call: Call) -> tuple[float, float]:
    return call.attribute("low", 0.0), call.attribute("high", 1.0)


def _dtype(call: Call, default: torch.dtype) -> torch.dtype:
    wanted = call.attribute("dtype")
    if wanted is None:
        return default
    if wanted not in DTYPES:
        message = f"with dtype={wanted} is not covered"
        raise UnsupportedVariant(message)
    return DTYPES[wanted]


def _dtype_like(call: Call) -> torch.dtype:
    """The type that the node states, or that of its input, which need not be known then."""
    stated = call.attribute("dtype")
    return _dtype(call, torch.float32) if stated is not None else call.dtype(0)
