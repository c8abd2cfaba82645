"""A rectangle of a picture is covered with the picture's mean colour.

Shape letters: N samples, C channels, H rows, W columns.
"""

import math

import torch
from torch import Tensor

_LEAST, _MOST = 0.02, 1 / 3  # of the area
_SLIMMEST = math.log(0.3)  # height to width, and its inverse


def erased(x_NCHW: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Cover a rectangle of some samples, 2 % to a third of their area.

    Args:
        x_NCHW: Images.
        probability: Of each sample.
        generator: On the device of the images.
    """
    num_samples, _, height, width = x_NCHW.shape
    draws_5N = torch.rand(5, num_samples, generator=generator, device=x_NCHW.device)
    chosen_N = draws_5N[0] < probability
    area_N = _LEAST + (_MOST - _LEAST) * draws_5N[1]
    slimness_N = (_SLIMMEST * (2 * draws_5N[2] - 1)).exp()
    tall_N = ((area_N * slimness_N).sqrt() * height).round().clamp(1, height)
    broad_N = ((area_N / slimness_N).sqrt() * width).round().clamp(1, width)
    top_N = (draws_5N[3] * (height - tall_N + 1)).floor()
    left_N = (draws_5N[4] * (width - broad_N + 1)).floor()
    return covered(
        x_NCHW, _inside(top_N, tall_N, height), _inside(left_N, broad_N, width), chosen_N
    )


def covered(x_NCHW: Tensor, rows_NH: Tensor, columns_NW: Tensor, chosen_N: Tensor) -> Tensor:
    """Put the mean colour where both a row and a column are marked, in the chosen samples."""
    inside = rows_NH[:, None, :, None] & columns_NW[:, None, None, :]
    inside = inside & chosen_N[:, None, None, None]
    return torch.where(inside, x_NCHW.mean((2, 3), keepdim=True), x_NCHW)


def _inside(start_N: Tensor, length_N: Tensor, size: int) -> Tensor:
    place = torch.arange(size, device=start_N.device)
    return (place >= start_N[:, None]) & (place < (start_N + length_N)[:, None])
