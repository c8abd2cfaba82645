"""Normalisations over batch, channels and features."""

import torch
from torch.nn import functional

from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.call import Call
from optimizer.bridge.ops.whole_batch import batch_norm_of_all, normalise_whole_batch
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value


@operator("BatchNormalization")
def batch_norm(call: Call) -> list[Value]:
    """Batch statistics in training, running ones in evaluation.

    With ``training_mode=1`` (or, before version 14, several outputs) batch statistics always, and
    the updated running statistics are further outputs.
    """
    call.require("spatial", 1, covered=1)
    x, scale, bias = (call.tensor(position) for position in range(3))
    mean, variance = (call.value(position) for position in (3, 4))
    epsilon, momentum = call.attribute("epsilon", 1e-5), call.attribute("momentum", 0.9)
    always = bool(call.attribute("training_mode", 0))
    if call.num_outputs > 1 and not always:
        message = "with outputs for its statistics is only covered from opset 14 on"
        raise UnsupportedVariant(message)
    if mean.initializer is None or variance.initializer is None:
        if not always:
            return [_with_given_statistics(call, epsilon)]
        module = AlwaysBatchNorm(epsilon, momentum, updates=False)
        given = (call.write.tensor(mean), call.write.tensor(variance))
        return call.write.emit_module("batch_norm", module, 3, x, scale, bias, *given)
    operands = (x, scale, bias, call.write.buffer(mean), call.write.buffer(variance))
    if always:
        module = AlwaysBatchNorm(epsilon, momentum)
        return call.write.emit_module("batch_norm", module, 3, *operands)
    return call.write.emit_module("batch_norm", BatchNorm(epsilon, momentum), 1, *operands)


def _with_given_statistics(call: Call, epsilon: float) -> Value:
    """Statistics that the graph computes: training has nothing to update that the file holds."""
    x, scale, bias, mean, variance = (call.tensor(position) for position in range(5))
    return call.write.emit(
        functional.batch_norm, x, mean, variance, scale, bias, training=False, eps=epsilon
    )


class BatchNorm(torch.nn.Module):
    """Batch normalisation of ``(N, C, ...)`` whose tensors are passed in.

    In training, ``running = momentum * running + (1 - momentum) * batch``: ONNX's momentum is the
    share that stays, torch's the share that is new.

    Attributes:
        is_at_rest: Whether running statistics stay as they are even in training, because this batch
            is being computed a second time.
        is_synchronised: Whether training takes the statistics over the batches of all processes.
    """

    is_at_rest = False
    is_synchronised = False

    def __init__(self, epsilon: float, momentum: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.momentum = momentum

    def forward(
        self,
        x: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> torch.Tensor:
        """Return ``x`` normalised; updates ``mean`` and ``variance`` in training."""
        share = 0.0 if self.is_at_rest else 1 - self.momentum
        if self.training and self.is_synchronised:
            return batch_norm_of_all(x, mean, variance, scale, bias, share, self.epsilon)
        return functional.batch_norm(
            x, mean, variance, scale, bias, self.training, share, self.epsilon
        )

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"epsilon={self.epsilon}, momentum={self.momentum}"


class AlwaysBatchNorm(BatchNorm):
    """Batch normalisation of a graph exported in training mode: batch statistics in any mode.

    Attributes:
        updates: Whether training updates the running statistics in place; those that the graph
            computes are not ours to change.
    """

    def __init__(self, epsilon: float, momentum: float, *, updates: bool = True) -> None:
        super().__init__(epsilon, momentum)
        self.updates = updates

    def forward(  # type: ignore[override]
        self,
        x: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return ``x`` normalised and the running statistics after this batch."""
        normalised, batch_mean, batch_variance = self._with_statistics(x, scale, bias, mean)
        with torch.no_grad():
            new_mean = mean * self.momentum + batch_mean * (1 - self.momentum)
            new_variance = variance * self.momentum + batch_variance * (1 - self.momentum)
            if self.updates and self.training and not self.is_at_rest:
                mean.copy_(new_mean)
                variance.copy_(new_variance)
        return normalised, new_mean, new_variance

    def _with_statistics(
        self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, like: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return ``x`` normalised, and mean and variance that did it, of the type of ``like``."""
        if self.training and self.is_synchronised:
            normalised, mean, variance, _ = normalise_whole_batch(x, scale, bias, self.epsilon)
            return normalised, mean.to(like.dtype), variance.to(like.dtype)
        # With a share of 1 torch's kernel leaves the statistics of this batch in what it is given.
        mean, variance = torch.zeros_like(like), torch.zeros_like(like)
        normalised = functional.batch_norm(x, mean, variance, scale, bias, True, 1.0, self.epsilon)  # noqa: FBT003
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            variance = variance * ((count - 1) / count)  # torch divides by one less
        return normalised, mean, variance


@operator("InstanceNormalization")
def instance_norm(call: Call) -> Value:
    """Normalise every channel of every sample."""
    x, scale, bias = (call.tensor(position) for position in range(3))
    epsilon = call.attribute("epsilon", 1e-5)
    return call.write.emit(functional.instance_norm, x, weight=scale, bias=bias, eps=epsilon)


@operator("GroupNormalization", since=21)
def group_norm(call: Call) -> Value:
    """Normalise groups of channels; scale and bias per channel."""
    x, scale, bias = (call.tensor(position) for position in range(3))
    groups, epsilon = call.attribute("num_groups"), call.attribute("epsilon", 1e-5)
    return call.write.emit(functional.group_norm, x, groups, scale, bias, epsilon)


@operator("GroupNormalization", since=18)
def group_norm_per_group(call: Call) -> Value:
    """The first version: scale and bias per group."""
    x, scale, bias = (call.tensor(position) for position in range(3))
    groups, epsilon = call.attribute("num_groups"), call.attribute("epsilon", 1e-5)
    return call.write.emit(normalise_groups, x, scale, bias, groups, epsilon)


@operator("LayerNormalization")
def layer_norm(call: Call) -> Value | list[Value]:
    """Normalise over all axes from ``axis`` on; mean and inverse deviation are further outputs."""
    rank = call.rank(0)
    axis = call.attribute("axis", -1) % rank
    x, scale, bias = call.tensor(0), call.tensor(1), call.optional(2)
    epsilon = call.attribute("epsilon", 1e-5)
    static, sizes = x.static_shape, scale.shape()
    if call.num_outputs == 1 and static is not None and static[axis:] == sizes:
        return call.write.emit(functional.layer_norm, x, sizes, scale, bias, epsilon)
    stash = DTYPES[call.attribute("stash_type", 1)]
    results = call.write.emit_many(3, normalise_from_axis, x, scale, bias, axis, epsilon, stash)
    return results[: call.num_outputs]


@operator("RMSNormalization")
def rms_norm(call: Call) -> Value:
    """Divide by the root mean square over all axes from ``axis`` on."""
    axis, epsilon = call.attribute("axis", -1) % call.rank(0), call.attribute("epsilon", 1e-5)
    x, scale = call.tensor(0), call.tensor(1)
    static, sizes = x.static_shape, scale.shape()
    if static is not None and static[axis:] == sizes:
        return call.write.emit(functional.rms_norm, x, sizes, scale, epsilon)
    return call.write.emit(divide_by_root_mean_square, x, scale, axis, epsilon)


@operator("LRN")
def local_response_norm(call: Call) -> Value:
    """Divide by the sum of squares over neighbouring channels."""
    alpha, beta = call.attribute("alpha", 1e-4), call.attribute("beta", 0.75)
    size, bias = call.attribute("size"), call.attribute("bias", 1.0)
    return call.write.emit(divide_by_neighbours, call.tensor(0), size, alpha, beta, bias)


@operator("MeanVarianceNormalization")
def mean_variance_norm(call: Call) -> Value:
    """Subtract the mean and divide by the deviation over ``axes``."""
    axes = tuple(call.attribute("axes", (0, 2, 3)))
    return call.write.emit(standardise, call.tensor(0), axes)


@operator("LpNormalization")
def lp_norm(call: Call) -> Value:
    """Divide by the norm along one axis."""
    axis, power = call.attribute("axis", -1), call.attribute("p", 2)
    return call.write.emit(functional.normalize, call.tensor(0), float(power), axis)


def normalise_groups(
    x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, groups: int, epsilon: float
) -> torch.Tensor:
    """Group normalisation with one scale and bias per group."""
    share = x.shape[1] // groups
    return functional.group_norm(
        x, groups, scale.repeat_interleave(share), bias.repeat_interleave(share), epsilon
    )


def normalise_from_axis(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    axis: int,
    epsilon: float,
    stash: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Layer normalisation with broadcast scale; also mean and inverse deviation, in ``stash``."""
    axes = tuple(range(axis % x.dim(), x.dim()))
    wide = x.to(stash)
    variance, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
    inverse = torch.rsqrt(variance + epsilon)
    result = ((wide - mean) * inverse).to(x.dtype) * scale
    return (result if bias is None else result + bias), mean, inverse


def divide_by_root_mean_square(
    x: torch.Tensor, scale: torch.Tensor, axis: int, epsilon: float
) -> torch.Tensor:
    """RMS normalisation with broadcast scale."""
    axes = tuple(range(axis, x.dim()))
    return x * torch.rsqrt(torch.mean(x * x, axes, keepdim=True) + epsilon) * scale


def divide_by_neighbours(
    x: torch.Tensor, size: int, alpha: float, beta: float, bias: float
) -> torch.Tensor:
    """``x / (bias + alpha / size * sum of squares over size channels) ** beta``."""
    channels = x.shape[1]
    below = (size - 1) // 2
    before, after = min(below, channels), min(size - 1 - below, channels)  # beyond there is nothing
    squares = functional.pad((x * x).flatten(2), (0, 0, before, after))
    total = squares[:, :channels]
    for shift in range(1, before + after + 1):
        total = total + squares[:, shift : shift + channels]
    return x / (bias + alpha / size * total.reshape(x.shape)) ** beta


def standardise(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Subtract the mean and divide by the deviation (plus 1e-9, as ONNX has it)."""
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (torch.sqrt(variance) + 1e-9)
