"""Conv and ConvTranspose in one to three spatial axes."""

from dataclasses import astuple

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.ops.windows import (
    Sizes,
    Window,
    WindowSettings,
    padding_at,
    torch_padding,
    window_from,
    window_of,
)
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _window(call: Call) -> Window:
    sizes = call.value(1).shape()
    kernel = tuple(call.attribute("kernel_shape", ())) or (sizes[2:] if sizes else ())
    if len(kernel) not in _CONV:
        message = f"over {len(kernel)} spatial axes is not covered"
        raise UnsupportedVariant(message)
    return window_of(call, kernel)


@operator("Conv")
def conv(call: Call) -> Value:
    """Convolution; padding that differs at the two ends of an axis is put on first."""
    window, groups = _window(call), call.attribute("group", 1)
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    padding = window.begin
    if not window.is_symmetric:
        padding = (0,) * len(window.kernel)
        x = padded(call, x, window, 0.0)
    function = _CONV[len(window.kernel)]
    stride, dilation = window.stride, window.dilation
    return call.write.emit(function, x, weight, bias, stride, padding, dilation, groups)


def padded(call: Call, x: Value, window: Window, fill: float) -> Value:
    """Write the padding of a window in front of it."""
    static = x.static_shape
    if not window.same and not window.ceil:
        return call.write.emit(
            functional.pad, x, torch_padding(window.begin, window.end), "constant", fill
        )
    if static is not None and None not in static[2:]:
        spatial = tuple(size for size in static[2:] if size is not None)
        pads = torch_padding(*padding_at(spatial, window))
        return call.write.emit(functional.pad, x, pads, "constant", fill) if any(pads) else x
    return call.write.emit(pad_for_window, x, astuple(window), fill)


def pad_for_window(x: torch.Tensor, settings: WindowSettings, fill: float) -> torch.Tensor:
    """Pad as a window asks for at the size that ``x`` has now."""
    pads = torch_padding(*padding_at(tuple(x.shape[2:]), window_from(settings)))
    return functional.pad(x, pads, "constant", fill)


@operator("ConvTranspose")
def conv_transpose(call: Call) -> Value:
    """Transposed convolution.

    1. Padding crops the result; equal at both ends it is left to torch.
    2. ``output_shape`` and auto_pad SAME_* say the size of the result instead. What is too much is
       cropped, an odd element at the end for SAME_UPPER, else at the begin; what lacks is 0.
    """
    window, groups = _window(call), call.attribute("group", 1)
    extra = tuple(call.attribute("output_padding", ())) or (0,) * len(window.kernel)
    wanted = tuple(call.attribute("output_shape", ()))[-len(window.kernel) :]
    operands = (call.tensor(0), call.tensor(1), call.optional(2))
    function = _TRANSPOSED[len(window.kernel)]
    if window.is_symmetric and not wanted:
        return call.write.emit(
            function, *operands, window.stride, window.begin, extra, groups, window.dilation
        )
    if not wanted and not window.same:
        crop = torch_padding(window.begin, window.end)
        settings = (window.stride, extra, groups, window.dilation)
        return call.write.emit(transpose_and_crop, *operands, settings, crop)
    settings = (window.stride, extra, groups, window.dilation)
    return call.write.emit(transpose_to_size, *operands, settings, wanted, window.same)


_Settings = tuple[Sizes, Sizes, int, Sizes]


def transpose_and_crop(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    settings: _Settings,
    crop: Sizes,
) -> torch.Tensor:
    """Transposed convolution without padding, then ``crop`` (last axis first, as torch has it)."""
    stride, extra, groups, dilation = settings
    spatial = len(stride)
    # torch wants output_padding below stride or dilation; a zero pad gives the rest of it
    full = _TRANSPOSED[spatial](x, weight, None, stride, 0, 0, groups, dilation)
    grown = torch_padding((0,) * spatial, extra)
    result = functional.pad(full, tuple(grow - cut for grow, cut in zip(grown, crop, strict=True)))
    return result if bias is None else result + bias.reshape(-1, *(1,) * spatial)


def transpose_to_size(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    settings: _Settings,
    wanted: Sizes,
    same: str,
) -> torch.Tensor:
    """Transposed convolution cropped or extended to ``wanted`` (default: ``size * stride``)."""
    stride, extra, _, dilation = settings
    sizes = wanted or tuple(size * step for size, step in zip(x.shape[2:], stride, strict=True))
    begin, end = [], []
    for axis, size in enumerate(sizes):
        reach = (weight.shape[2 + axis] - 1) * dilation[axis] + 1
        total = stride[axis] * (x.shape[2 + axis] - 1) + extra[axis] + reach - size
        half = total // 2 if same == "upper" else total - total // 2
        begin.append(half)
        end.append(total - half)
    crop = torch_padding(tuple(begin), tuple(end))
    return transpose_and_crop(x, weight, bias, settings, crop)
