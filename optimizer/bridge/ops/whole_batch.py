"""Batch normalisation over a batch whose samples are spread over several processes.

Each process holds a part of the batch; mean and variance are those of all parts, and so are the
gradients. torch's own form of it takes tensors of a GPU only; this one needs nothing but a process
group, whatever its backend.

Shape letters: N samples of this process, C channels, R processes.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def normalise_whole_batch(
    x: Tensor, scale: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise ``x`` with the statistics of the parts of all processes.

    Every process of the default group has to call it, in the same order.

    Args:
        x: (N, C, ...), this process' part.
        scale: (C,).
        bias: (C,).
        epsilon: Added to the variance.

    Returns:
        ``x`` normalised; mean and variance (not corrected) over all parts, (C,); and how many
        values a channel has in all parts, float64 ().
    """
    found: tuple[Tensor, Tensor, Tensor, Tensor]
    found = _WholeBatch.apply(x, scale, bias, epsilon)  # type: ignore[no-untyped-call]
    return found


def batch_norm_of_all(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    bias: Tensor,
    share: float,
    epsilon: float,
) -> Tensor:
    """As ``functional.batch_norm`` in training: also moves the running statistics by ``share``."""
    normalised, new_mean, new_variance, count = normalise_whole_batch(x, scale, bias, epsilon)
    with torch.no_grad():
        corrected = new_variance * (count / (count - 1)).to(new_variance.dtype)
        mean.lerp_(new_mean.to(mean.dtype), share)
        variance.lerp_(corrected.to(variance.dtype), share)
    return normalised


class _WholeBatch(torch.autograd.Function):
    """The arithmetic; the gradient is the one through all parts."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance, count = _statistics(wide)
        inverse = torch.rsqrt(variance + epsilon)
        factor = (inverse * scale).to(wide.dtype)
        shift = (bias - mean * inverse * scale).to(wide.dtype)
        normalised = torch.addcmul(_laid(shift, x), wide, _laid(factor, x)).to(x.dtype)
        mean, inverse = mean.to(wide.dtype), inverse.to(wide.dtype)
        ctx.save_for_backward(x, scale, mean, inverse, count)
        variance = variance.to(wide.dtype)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, *_unused: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, scale, mean, inverse, count = ctx.saved_tensors
        gradient = gradient.to(mean.dtype)
        axes = _axes(x)
        centred = x.to(mean.dtype) - _laid(mean, x)
        sum_here = gradient.sum(axes)
        product_here = (gradient * centred).sum(axes) * inverse
        sums = torch.stack([sum_here, product_here]).double()
        dist.all_reduce(sums)
        sum_of_all, product_of_all = (sums / count).to(mean.dtype)
        factor = inverse * scale.to(mean.dtype)
        of_x = centred.mul_(_laid(-factor * inverse * product_of_all, x))
        of_x.addcmul_(gradient, _laid(factor, x)).sub_(_laid(factor * sum_of_all, x))
        return of_x.to(x.dtype), product_here.to(scale.dtype), sum_here.to(scale.dtype), None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number of values per channel over all parts, in double precision.

    From the moments of the parts (Chan et al., 1979), so that a large mean costs no digits; each
    process adds them up in the same order, so all have the same to the last bit.
    """
    variance, mean = torch.var_mean(x, _axes(x), correction=0)
    here = torch.full_like(mean, x.numel() // x.shape[1], dtype=torch.float64)
    own = torch.stack([mean.double(), variance.double(), here])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    means, variances, counts = torch.stack(parts, dim=1)  # (R, C) each
    count = counts[:, 0].sum()
    mean = (means * counts).sum(0) / count
    variance = ((variances + (means - mean).square()) * counts).sum(0) / count
    return mean, variance, count


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _laid(values: Tensor, x: Tensor) -> Tensor:
    """Lay ``values`` (C,) out along the channels of ``x`` (N, C, ...)."""
    return values.reshape(-1, *(1,) * (x.dim() - 2))
