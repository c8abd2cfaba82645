"""What the pixels of a picture look like: brightness, contrast, saturation, sharpness, few levels.

A strength of 0 leaves a sample as it is, to the bit. Black and white are ``low`` and ``high``, one
value per channel; nothing leaves that range.

Shape letters: N samples, C channels, H rows, W columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_MIDDLE, _AROUND = 5.0, 1.0  # weights of the blur that sharpness blends with


@dataclass(frozen=True, kw_only=True)
class ValueRange:
    """What counts as black and as white.

    Attributes:
        low: (1, C, 1, 1).
        high: (1, C, 1, 1).
    """

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, x_NCHW: Tensor) -> "ValueRange":
        """The range of each channel over a batch."""
        axes = (0, 2, 3)
        return cls(low=x_NCHW.amin(axes, keepdim=True), high=x_NCHW.amax(axes, keepdim=True))

    def clamped(self, x_NCHW: Tensor) -> Tensor:
        """``x`` inside of the range."""
        return torch.minimum(torch.maximum(x_NCHW, self.low), self.high)


def brightened(x_NCHW: Tensor, strength_N: Tensor, within: ValueRange) -> Tensor:
    """Away from black by a share of the distance to it; negative: towards it."""
    return within.clamped(_away_from(within.low, x_NCHW, strength_N))


def contrasted(x_NCHW: Tensor, strength_N: Tensor, within: ValueRange) -> Tensor:
    """Away from the sample's mean colour."""
    mean = x_NCHW.mean((2, 3), keepdim=True)
    return within.clamped(_away_from(mean, x_NCHW, strength_N))


def saturated(x_NCHW: Tensor, strength_N: Tensor, within: ValueRange) -> Tensor:
    """Away from grey, the mean of the channels; nothing happens to a single channel."""
    if x_NCHW.shape[1] == 1:
        return x_NCHW
    return within.clamped(_away_from(x_NCHW.mean(1, keepdim=True), x_NCHW, strength_N))


def sharpened(x_NCHW: Tensor, strength_N: Tensor, within: ValueRange) -> Tensor:
    """Away from the blurred picture; negative: blurred."""
    channels = x_NCHW.shape[1]
    kernel = x_NCHW.new_full((channels, 1, 3, 3), _AROUND / (8 * _AROUND + _MIDDLE))
    kernel[:, :, 1, 1] = _MIDDLE / (8 * _AROUND + _MIDDLE)
    padded = functional.pad(x_NCHW, (1, 1, 1, 1), mode="replicate")
    blurred = functional.conv2d(padded, kernel, groups=channels)
    return within.clamped(_away_from(blurred, x_NCHW, strength_N))


def posterised(x_NCHW: Tensor, strength_N: Tensor, within: ValueRange) -> Tensor:
    """Fewer levels: 256 at strength 0 (which leaves the sample alone), 16 at strength 1."""
    levels_N = (8 - 4 * strength_N).exp2()[:, None, None, None].to(x_NCHW.dtype)
    span = (within.high - within.low).clamp_min(torch.finfo(x_NCHW.dtype).tiny)
    share = (x_NCHW - within.low) / span
    coarse = within.low + (share * levels_N).floor().minimum(levels_N - 1) / levels_N * span
    return torch.where((strength_N > 0)[:, None, None, None], coarse, x_NCHW)


def solarised(x_NCHW: Tensor, strength_N: Tensor, within: ValueRange) -> Tensor:
    """Inverted above a limit, which is white at strength 0 and black at strength 1."""
    share = strength_N[:, None, None, None].to(x_NCHW.dtype)
    limit = within.high - share * (within.high - within.low)
    is_inverted = (x_NCHW > limit) & (share > 0)
    return torch.where(is_inverted, within.low + within.high - x_NCHW, x_NCHW)


def _away_from(other: Tensor, x_NCHW: Tensor, strength_N: Tensor) -> Tensor:
    share = strength_N[:, None, None, None].to(x_NCHW.dtype)
    return x_NCHW + share * (x_NCHW - other)
