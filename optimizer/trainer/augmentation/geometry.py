"""Where the pixels of a picture go: mirrored, shifted, turned, sheared.

Shape letters: N samples, C channels, H rows, W columns.
"""

import torch
from torch import Tensor
from torch.nn import functional


def flipped_and_cropped(x_NCHW: Tensor, flips_N: Tensor, down_N: Tensor, right_N: Tensor) -> Tensor:
    """Mirror some samples, then shift each; what comes in at an edge is the reflection there.

    The same as padding by reflection and cropping at the shift, without the padded copy.

    Args:
        x_NCHW: Images.
        flips_N: Bool: which are mirrored, left to right.
        down_N: int64: from how many rows further down each is read; below H either way.
        right_N: int64: the same for columns, below W.
    """
    _, channels, height, width = x_NCHW.shape
    device = x_NCHW.device
    rows_NH = _reflected(torch.arange(height, device=device) + down_N[:, None], height)
    columns_NW = _reflected(torch.arange(width, device=device) + right_N[:, None], width)
    columns_NW = torch.where(flips_N[:, None], width - 1 - columns_NW, columns_NW)
    x_NCHW = x_NCHW.gather(2, rows_NH[:, None, :, None].expand(-1, channels, -1, width))
    return x_NCHW.gather(3, columns_NW[:, None, None, :].expand(-1, channels, height, -1))


def _reflected(places: Tensor, length: int) -> Tensor:
    """Places outside of 0 .. length - 1 by no more than that, mirrored at the edge pixel."""
    return (length - 1) - ((length - 1) - places.abs()).abs()


def warped(
    x_NCHW: Tensor,
    *,
    angle_N: Tensor,
    shear_N2: Tensor,
    shift_N2: Tensor,
) -> Tensor:
    """Turn, shear and shift every sample about its middle; bilinear, reflected at the edges.

    Samples with nothing to do come back as they are, to the bit.

    Args:
        x_NCHW: Images.
        angle_N: Radians, clockwise as one looks at the picture.
        shear_N2: Columns per row, and rows per column.
        shift_N2: Share of the width to the right, and of the height downwards.
    """
    height, width = x_NCHW.shape[2:]
    cosine_N, sine_N = angle_N.cos(), angle_N.sin()
    right_N, down_N = shear_N2[:, 0], shear_N2[:, 1]
    # From where each pixel is read, in units of half the width and half the height: turned back,
    # after it was sheared back.
    from_N22 = torch.stack(
        [
            cosine_N - sine_N * down_N,
            (sine_N - cosine_N * right_N) * (height / width),
            (-sine_N - cosine_N * down_N) * (width / height),
            cosine_N + sine_N * right_N,
        ],
        dim=1,
    ).view(-1, 2, 2)
    shift_N21 = -2 * (from_N22 @ shift_N2[:, :, None])
    theta_N23 = torch.cat([from_N22, shift_N21], dim=2).to(x_NCHW.dtype)
    grid = functional.affine_grid(theta_N23, list(x_NCHW.shape), align_corners=False)
    moved = functional.grid_sample(
        x_NCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    is_still_N = (angle_N == 0) & (shear_N2 == 0).all(dim=1) & (shift_N2 == 0).all(dim=1)
    return torch.where(is_still_N[:, None, None, None], x_NCHW, moved)
