"""A normalisation that training uses and the file does not have: what it computes, how it goes.

Between a convolution and its bias: ``y = gamma * (W x - mean) / sqrt(variance + eps) + beta``.
``beta`` takes the place of the file's bias, so that the module holds one tensor more per
convolution, not two that do the same. Where and with which numbers it is put in is the business of
``renormalising``.

Shape letters: C channels that the convolution makes, G its groups.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.bridge.ops.whole_batch import batch_norm_of_all

EPSILON = 1e-5
_NEW = 0.1  # share of a batch in the running statistics


class InsertedNorm(torch.nn.Module):
    """Normalises ``(N, C, ...)``: statistics of the batch in training, running ones otherwise.

    Attributes:
        gamma: (C,), trained.
        mean: (C,), of what the convolution makes without its bias.
        variance: (C,), of the same; not corrected.
        is_at_rest: Whether the running statistics stay as they are, as in a second run over the
            same batch.
        is_synchronised: Whether training takes the statistics over the batches of all processes.
    """

    is_at_rest: bool = False
    is_synchronised: bool = False
    gamma: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        """Start where nothing changes: ``gamma = sqrt(variance + eps)``."""
        super().__init__()
        self.gamma = torch.nn.Parameter((variance + EPSILON).sqrt())
        self.register_buffer("mean", mean.clone())
        self.register_buffer("variance", variance.clone())

    def forward(self, x: Tensor, beta: Tensor) -> Tensor:
        """Return ``x`` normalised, scaled by ``gamma``, shifted by ``beta`` (C,)."""
        share = 0.0 if self.is_at_rest else _NEW
        if self.training and self.is_synchronised:
            statistics = (self.mean, self.variance)
            return batch_norm_of_all(x, *statistics, self.gamma, beta, share, EPSILON)
        return functional.batch_norm(
            x, self.mean, self.variance, self.gamma, beta, self.training, share, EPSILON
        )


@dataclass(frozen=True, kw_only=True)
class Insertion:
    """Where an ``InsertedNorm`` stands.

    Attributes:
        path: Attribute path of the norm in the module.
        weight: Initializer of the convolution in front of it.
        bias: Initializer that is its ``beta``.
        transposed: Whether the convolution is a transposed one.
    """

    path: str
    weight: str
    bias: str
    transposed: bool


def folded(
    module: torch.nn.Module, insertion: Insertion, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weight and bias that alone do what the convolution and its norm do in evaluation.

    1. ``W' = W * s``, ``bias = beta - mean * s`` with ``s = gamma / sqrt(variance + eps)`` per
       channel, in double precision, rounded once.
    2. A channel whose ``gamma`` and ``beta`` are 0 has a weight and a bias of exactly 0.

    Args:
        module: Holds the norm.
        insertion: Which one.
        tensors: Initializer name to what the module holds there.
    """
    norm = module.get_submodule(insertion.path)
    assert isinstance(norm, InsertedNorm)
    weight, beta = tensors[insertion.weight].detach(), tensors[insertion.bias].detach()
    scale = norm.gamma.detach().double() / (norm.variance.double() + EPSILON).sqrt()
    bias = beta.double() - norm.mean.double() * scale
    shaped = along_channels(scale, weight, transposed=insertion.transposed)
    return {
        insertion.weight: (weight.double() * shaped).reshape(weight.shape).to(weight.dtype),
        insertion.bias: bias.to(beta.dtype),
    }


def along_channels(values: Tensor, weight: Tensor, *, transposed: bool) -> Tensor:
    """Lay ``values`` (C,) out so that they multiply the weight of a convolution.

    A weight is (C, in / G, ...), a transposed one (in, C / G, ...): there the group of a row says
    which channels its columns make.
    """
    others = (1,) * (weight.dim() - 2)
    if not transposed:
        return values.reshape(-1, 1, *others)
    per_group = weight.shape[1]
    groups = len(values) // per_group
    rows = values.reshape(groups, per_group).repeat_interleave(weight.shape[0] // groups, dim=0)
    return rows.reshape(weight.shape[0], per_group, *others)


@dataclass
class Moments:
    """Mean and variance per channel over batches of any sizes, in double precision.

    Attributes:
        least: Fewest values per channel that one batch had.
        per_sample: Most values per channel that one sample had.
    """

    mean: Tensor | None = None
    squares: Tensor | None = None  # sum of squared differences to the mean
    count: int = 0
    least: int = 1 << 62
    per_sample: int = 0

    def add(self, x: Tensor) -> None:
        """Take in ``x`` (N, C, ...); Chan et al. 1979, so a large mean costs no digits."""
        axes = [0, *range(2, x.dim())]
        here = x.numel() // x.shape[1]
        variance, mean = torch.var_mean(x.double(), axes, correction=0)
        self.least = min(self.least, here)
        self.per_sample = max(self.per_sample, math.prod(x.shape[2:]))
        if self.mean is None or self.squares is None:
            self.mean, self.squares, self.count = mean, variance * here, here
            return
        total, gap = self.count + here, mean - self.mean
        self.squares += variance * here + gap.square() * (self.count * here / total)
        self.mean += gap * (here / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """(C,), not corrected."""
        assert self.squares is not None
        return self.squares / self.count
