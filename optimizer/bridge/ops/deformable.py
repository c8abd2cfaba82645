"""Convolution whose window elements are moved by offsets that the network computes."""

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.ops.windows import Sizes, window_of
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value


@operator("DeformConv", since=19)
def deform_conv(call: Call) -> Value:
    """Deformable convolution over two spatial axes, with or without a mask."""
    kernel = (call.value(1).shape() or ())[2:]
    if len(kernel) != 2:
        message = f"over {len(kernel)} spatial axes is not covered"
        raise UnsupportedVariant(message)
    window = window_of(call, kernel)
    operands = [call.tensor(position) for position in range(3)]
    operands_left_out = [call.optional(position) for position in (3, 4)]
    geometry = (window.stride, window.dilation, window.begin)
    groups = (call.attribute("group", 1), call.attribute("offset_group", 1))
    return call.write.emit(deformed, *operands, *operands_left_out, geometry, groups)


def deformed(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    geometry: tuple[Sizes, Sizes, Sizes],
    groups: tuple[int, int],
) -> Tensor:
    """Sample a value per window element and place, then multiply as any convolution does.

    Args:
        x: ``(N, C, H, W)``; 0 outside.
        weight: ``(O, C / groups[0], kh, kw)``.
        offset: ``(N, groups[1] * kh * kw * 2, oh, ow)``, y and x of each window element.
        bias: ``(O,)``.
        mask: ``(N, groups[1] * kh * kw, oh, ow)``, factors of the sampled values.
        geometry: strides, dilations, pads before each axis.
        groups: Groups of the product, groups of channels that share offsets.
    """
    batch, places, inner = x.shape[0], offset.shape[2:], weight.shape[2] * weight.shape[3]
    product_groups, shared = groups
    moved = offset.reshape(batch * shared, inner, 2, *places)
    axes = [
        _normal(
            moved[:, :, axis] + _places(weight, places, axis, geometry, offset), x.shape[axis + 2]
        )
        for axis in (1, 0)
    ]
    grid = torch.stack(axes, -1).reshape(batch * shared, inner * places[0], places[1], 2)
    images = x.reshape(batch * shared, -1, *x.shape[2:])
    columns = functional.grid_sample(images, grid, "bilinear", "zeros", align_corners=False)
    columns = columns.reshape(batch, shared, -1, inner, places.numel())
    if mask is not None:
        columns = columns * mask.reshape(batch, shared, 1, inner, -1)
    rows = weight.reshape(product_groups, weight.shape[0] // product_groups, -1)
    columns = columns.reshape(batch, product_groups, rows.shape[2], -1)
    result = torch.matmul(rows, columns).reshape(batch, weight.shape[0], *places)
    return result if bias is None else result + bias.reshape(-1, 1, 1)


def _places(
    weight: Tensor,
    places: torch.Size,
    axis: int,
    geometry: tuple[Sizes, Sizes, Sizes],
    like: Tensor,
) -> Tensor:
    """Where each window element is without offsets, ``(kh * kw, oh, ow)`` or broadcastable."""
    strides, dilations, pads = geometry
    count = weight.shape[2 + axis]
    elements = torch.arange(count, dtype=like.dtype, device=like.device) * dilations[axis]
    elements = elements.reshape((-1, 1) if axis == 0 else (1, -1)).expand(*weight.shape[2:])
    outer = torch.arange(places[axis], dtype=like.dtype, device=like.device) * strides[axis]
    outer = outer.reshape((-1, 1) if axis == 0 else (1, -1)) - pads[axis]
    return elements.reshape(-1, 1, 1) + outer


def _normal(position: Tensor, size: int) -> Tensor:
    """From pixels to the -1..1 between the image's outer edges."""
    return (2 * position + 1) / size - 1
