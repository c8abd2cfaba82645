"""Two samples in one: blended (mixup) or one set into the other (cutmix), and their labels so.

Every sample is mixed with the one before it in the batch, whose order is random anyway. Shares and
boxes are numbers of the host, so that nothing is read back from the device.

Shape letters: N samples.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How the samples of a batch are mixed.

    Attributes:
        share: Of the sample itself (0..1); the rest is its neighbour's.
        box: Rows and columns of the neighbour that are set in, as (top, bottom, left, right);
            None blends all pixels.
    """

    share: float
    box: tuple[int, int, int, int] | None = None

    def of_inputs(self, x: Tensor) -> Tensor:
        """Mixed samples (N, ...); with a box, rows and columns are the last two axes."""
        if self.box is None:
            return torch.lerp(x.roll(1, dims=0), x, self.share)
        top, bottom, left, right = self.box
        mixed = x.clone()
        mixed[..., top:bottom, left:right] = x.roll(1, dims=0)[..., top:bottom, left:right]
        return mixed

    def of_labels(self, soft: Tensor) -> Tensor:
        """Mixed labels, from labels as floats (N, ...)."""
        return torch.lerp(soft.roll(1, dims=0), soft, self.share)


def drawn(
    *, mixup: float, cutmix: float, size: tuple[int, int] | None, rng: np.random.Generator
) -> Mix:
    """Draw a mix: the share from Beta(alpha, alpha) (Zhang et al., 2018; Yun et al., 2019).

    Args:
        mixup: alpha of blending; 0 never blends.
        cutmix: alpha of setting in; 0 never does so. With both, each batch gets one of the two.
        size: Rows and columns of the images; None where there are none.
        rng: Advanced by as much whatever comes out.
    """
    coin, *place = rng.random(3)
    if size is None or not cutmix or (mixup and coin < 0.5):
        return Mix(share=float(rng.beta(mixup, mixup)))
    side = math.sqrt(1 - float(rng.beta(cutmix, cutmix)))
    spans = []
    for middle, length in zip(place, size, strict=True):
        centre, half = int(middle * length), int(length * side) // 2
        spans += [max(0, centre - half), min(length, centre + half)]
    top, bottom, left, right = spans
    inside = (bottom - top) * (right - left) / (size[0] * size[1])
    return Mix(share=1 - inside, box=(top, bottom, left, right))
