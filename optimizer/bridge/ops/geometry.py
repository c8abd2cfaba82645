"""Images laid out anew: sampling grids, cropping or padding to a size, and columns put together."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, join
from optimizer.bridge.ops.windows import Sizes, torch_padding
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("AffineGrid", since=20)
def affine_grid(call: Call) -> Value:
    """Positions in -1..1 at which ``GridSample`` turns and moves an image; the batch is theta's."""
    align = bool(call.attribute("align_corners", 0))
    return call.write.emit(grid_of, call.tensor(0), call.numbers(1), align=align)


def grid_of(theta: Tensor, size: HostValue, *, align: bool) -> Tensor:
    """Return positions ``(N, *spatial, axes)``, x first, of matrices ``(N, axes, axes + 1)``."""
    sizes = [int(axis) for axis in join(size)[2:]]
    positions = []
    for count in sizes:
        if align:
            line = torch.linspace(-1, 1, count, dtype=theta.dtype, device=theta.device)
        else:
            index = torch.arange(count, dtype=theta.dtype, device=theta.device)
            line = (2 * index + 1) / count - 1
        positions.append(line)
    axes = torch.meshgrid(*positions, indexing="ij")
    points = torch.stack([*reversed(axes), torch.ones_like(axes[0])], -1)
    flat = torch.matmul(points.reshape(-1, points.shape[-1]), theta.transpose(1, 2))
    return flat.reshape(theta.shape[0], *sizes, len(sizes))


@operator("CenterCropPad", since=18)
def center_crop_pad(call: Call) -> Value:
    """Crop or pad every axis around its middle; of an odd element more at the end."""
    axes = call.attribute("axes")
    return call.write.emit(
        to_size, call.tensor(0), call.numbers(1), None if axes is None else tuple(axes)
    )


def to_size(x: Tensor, target: HostValue, axes: Sizes | None) -> Tensor:
    """Return ``x`` with the sizes ``target`` along ``axes`` (default: all)."""
    begin, end = [0] * x.dim(), [0] * x.dim()
    sizes = join(target)
    for axis, size in zip(axes if axes is not None else range(x.dim()), sizes, strict=True):
        surplus = int(size) - x.shape[axis]
        half = abs(surplus) // 2
        begin[axis] = half if surplus > 0 else -half
        end[axis] = surplus - begin[axis]
    return functional.pad(x, torch_padding(tuple(begin), tuple(end)))


@operator("Col2Im", since=18)
def col2im(call: Call) -> Value:
    """Add columns, one per place of a window, up to the image that they were cut from."""
    settings = tuple(tuple(call.attribute(name, ())) for name in ("strides", "dilations", "pads"))
    return call.write.emit(
        image_of_columns, call.tensor(0), call.numbers(1), call.numbers(2), settings
    )


def image_of_columns(
    x: Tensor, image: HostValue, block: HostValue, settings: tuple[Sizes, Sizes, Sizes]
) -> Tensor:
    """Return ``(N, C, *image)`` of columns ``(N, C * prod(block), places)``.

    Args:
        x: The columns; places count the last axis fastest.
        image: Sizes of the result.
        block: Sizes of the window.
        settings: strides, dilations, pads; empty for ones, ones, zeros.
    """
    sizes, kernel = ([int(number) for number in join(part)] for part in (image, block))
    rank = len(sizes)
    strides, dilations = (part or (1,) * rank for part in settings[:2])
    pads = settings[2] or (0,) * (2 * rank)
    wide = [size + pads[axis] + pads[axis + rank] for axis, size in enumerate(sizes)]
    position = torch.zeros(1, 1, dtype=torch.int64, device=x.device)
    for axis, size in enumerate(wide):
        places = (size - (kernel[axis] - 1) * dilations[axis] - 1) // strides[axis] + 1
        inner = torch.arange(kernel[axis], device=x.device) * dilations[axis]
        outer = torch.arange(places, device=x.device) * strides[axis]
        line = inner.reshape(-1, 1) + outer
        shape = (position.shape[0] * kernel[axis], position.shape[1] * places)
        position = position.reshape(position.shape[0], 1, position.shape[1], 1) * size
        position = (position + line.reshape(1, kernel[axis], 1, places)).reshape(shape)
    channels = x.shape[1] // math.prod(kernel)
    columns = x.reshape(x.shape[0], channels, -1)
    empty = columns.new_zeros(x.shape[0], channels, math.prod(wide))
    padded = empty.index_add(2, position.reshape(-1), columns).reshape(*empty.shape[:2], *wide)
    crop = torch_padding(tuple(-pad for pad in pads[:rank]), tuple(-pad for pad in pads[rank:]))
    return functional.pad(padded, crop)
