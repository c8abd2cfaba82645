"""Two operations for every image out of twelve, all of the same strength.

After RandAugment (Cubuk et al., 2020), with two differences that make it one pass over the batch:
what moves pixels is composed and done first, what changes colours follows in a fixed order.

Shape letters: N samples, C channels, H rows, W columns, O operations.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.trainer.augmentation import colour
from optimizer.trainer.augmentation.geometry import warped

OPERATIONS = (
    "turn",
    "shear-right",
    "shear-down",
    "shift-right",
    "shift-down",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterise",
    "solarise",
    "nothing",
)
_AT_ONCE = 2
_MOST_ANGLE, _MOST_SHEAR, _MOST_SHIFT, _MOST_COLOUR = math.radians(30), 0.3, 0.45, 0.9


def randomly_operated(x_NCHW: Tensor, magnitude: float, generator: torch.Generator) -> Tensor:
    """Change every image by two operations of ``magnitude``.

    Args:
        x_NCHW: Images.
        magnitude: 0 leaves all as they are; 1 is 30 degrees, a shear of 0.3, a shift by 45 %,
            colours 90 % away from what they are, 16 levels, everything inverted.
        generator: On the device of the images.
    """
    count, device = len(x_NCHW), x_NCHW.device
    shape = (count, _AT_ONCE)
    picked = torch.randint(len(OPERATIONS), shape, generator=generator, device=device)
    chosen_NO = functional.one_hot(picked, len(OPERATIONS)).amax(1).to(torch.float32)
    signs_NO = torch.rand(chosen_NO.shape, generator=generator, device=device)
    signs_NO = torch.where(signs_NO < 0.5, -1.0, 1.0)
    return operated(x_NCHW, magnitude * chosen_NO, signs_NO)


def operated(x_NCHW: Tensor, strength_NO: Tensor, signs_NO: Tensor) -> Tensor:
    """Apply all operations, each as strongly as said, 0 for not at all.

    Args:
        x_NCHW: Images.
        strength_NO: float32, 0..1, in the order of ``OPERATIONS``.
        signs_NO: float32, 1 or -1: which way, where there are two.
    """
    signed_NO = strength_NO * signs_NO
    within = colour.ValueRange.of(x_NCHW)
    x_NCHW = warped(
        x_NCHW,
        angle_N=signed_NO[:, 0] * _MOST_ANGLE,
        shear_N2=signed_NO[:, 1:3] * _MOST_SHEAR,
        shift_N2=signed_NO[:, 3:5] * _MOST_SHIFT,
    )
    colours_N4 = signed_NO[:, 5:9] * _MOST_COLOUR
    x_NCHW = colour.brightened(x_NCHW, colours_N4[:, 0], within)
    x_NCHW = colour.contrasted(x_NCHW, colours_N4[:, 1], within)
    x_NCHW = colour.saturated(x_NCHW, colours_N4[:, 2], within)
    x_NCHW = colour.sharpened(x_NCHW, colours_N4[:, 3], within)
    x_NCHW = colour.posterised(x_NCHW, strength_NO[:, 9], within)
    return colour.solarised(x_NCHW, strength_NO[:, 10], within)
