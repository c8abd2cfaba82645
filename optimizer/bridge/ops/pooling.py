"""Pooling over windows and over whole images."""

from dataclasses import astuple

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.ops.convolution import padded
from optimizer.bridge.ops.windows import (
    Sizes,
    Window,
    WindowSettings,
    kernel_of,
    padding_at,
    torch_padding,
    window_from,
    window_of,
)
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def _window(call: Call) -> Window:
    kernel = kernel_of(call)
    if len(kernel) not in _MAX:
        message = f"over {len(kernel)} spatial axes is not covered"
        raise UnsupportedVariant(message)
    return window_of(call, kernel)


def _fits_torch(window: Window) -> bool:
    """Whether torch takes the padding: symmetric, and at most half the kernel."""
    return window.is_symmetric and all(
        2 * pad <= size for pad, size in zip(window.begin, window.kernel, strict=True)
    )


@operator("MaxPool")
def max_pool(call: Call) -> Value | list[Value]:
    """Maximum over windows, and where it was if the second output is used."""
    window = _window(call)
    x = call.tensor(0)
    if call.num_outputs > 1:
        column_major = bool(call.attribute("storage_order", 0))
        return call.write.emit_many(
            2, max_pool_with_indices, x, astuple(window), column_major=column_major
        )
    padding, ceil = window.begin, window.ceil
    if not _fits_torch(window):
        padding, ceil = (0,) * len(padding), False
        x = padded(call, x, window, -float("inf"))
    function = _MAX[len(window.kernel)]
    stride, dilation = window.stride, window.dilation
    return call.write.emit(function, x, window.kernel, stride, padding, dilation, ceil)


@operator("AveragePool")
def average_pool(call: Call) -> Value:
    """Mean over windows, with or without the padding in the count."""
    window, include = _window(call), bool(call.attribute("count_include_pad", 0))
    x = call.tensor(0)
    if _fits_torch(window) and set(window.dilation) == {1}:
        function, ceil = _AVERAGE[len(window.kernel)], window.ceil
        kernel, stride, padding = window.kernel, window.stride, window.begin
        return call.write.emit(function, x, kernel, stride, padding, ceil, include)
    return call.write.emit(average_windows, x, astuple(window), include=include)


@operator("LpPool")
def lp_pool(call: Call) -> Value:
    """``p``-norm over windows."""
    settings, power = astuple(_window(call)), call.attribute("p", 2)
    return call.write.emit(norm_of_windows, call.tensor(0), settings, power)


@operator("GlobalAveragePool")
def global_average_pool(call: Call) -> Value:
    """Mean over all spatial axes, which stay with size 1."""
    axes = tuple(range(2, call.rank(0)))
    return call.write.emit(torch.mean, call.tensor(0), axes, keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call) -> Value:
    """Maximum over all spatial axes, which stay with size 1."""
    axes = tuple(range(2, call.rank(0)))
    return call.write.emit(torch.amax, call.tensor(0), axes, keepdim=True)


@operator("GlobalLpPool")
def global_lp_pool(call: Call) -> Value:
    """``p``-norm over all spatial axes, which stay with size 1."""
    axes, power = tuple(range(2, call.rank(0))), call.attribute("p", 2)
    return call.write.emit(torch.linalg.vector_norm, call.tensor(0), power, axes, keepdim=True)


def max_pool_with_indices(
    x: torch.Tensor, settings: WindowSettings, *, column_major: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return maxima and their positions in the flattened ``x``.

    ``column_major`` counts the first spatial axis fastest instead of the last.
    """
    window = window_from(settings)
    pads = torch_padding(*padding_at(tuple(x.shape[2:]), window))
    wide = functional.pad(x, pads, "constant", -float("inf"))
    pool = _MAX[len(window.kernel)]
    maxima, found = pool(
        wide, window.kernel, window.stride, 0, window.dilation, return_indices=True
    )
    positions = torch.arange(x.numel(), device=x.device, dtype=torch.float64)
    if column_major:
        spatial = range(x.dim() - 1, 1, -1)
        positions = positions.reshape(*x.shape[:2], *(x.shape[axis] for axis in spatial))
        positions = positions.permute(0, 1, *spatial)
    positions = positions.reshape(x.shape)
    flat = functional.pad(positions, pads).flatten(2)
    indices = flat.gather(2, found.flatten(2)).reshape(found.shape)
    return maxima, indices.to(torch.int64)


def _sum_of_windows(x: torch.Tensor, window: Window, pads: Sizes) -> torch.Tensor:
    """Sum over windows of ``(N, C, *spatial)``, padded with zeros."""
    wide = functional.pad(x, pads)
    single = wide.reshape(-1, 1, *wide.shape[2:])
    ones = torch.ones(1, 1, *window.kernel, dtype=x.dtype, device=x.device)
    conv = _CONV[len(window.kernel)]
    sums = conv(single, ones, None, window.stride, 0, window.dilation)
    return sums.reshape(x.shape[0], x.shape[1], *sums.shape[2:])


def average_windows(x: torch.Tensor, settings: WindowSettings, *, include: bool) -> torch.Tensor:
    """Mean over windows for paddings and dilations that torch's pooling does not take.

    The padding counts if ``include``; what ceil mode adds beyond it never does.
    """
    window = window_from(settings)
    begin, end = padding_at(tuple(x.shape[2:]), window)
    counted = torch.ones_like(x[:1, :1])
    around = torch_padding(begin, end)
    if include:
        inside = end if window.same else tuple(map(min, end, window.end))
        counted = functional.pad(counted, torch_padding(begin, inside), "constant", 1.0)
        rest = tuple(after - given for after, given in zip(end, inside, strict=True))
        counts = _sum_of_windows(counted, window, torch_padding((0,) * len(end), rest))
    else:
        counts = _sum_of_windows(counted, window, around)
    return _sum_of_windows(x, window, around) / counts


def norm_of_windows(x: torch.Tensor, settings: WindowSettings, power: int) -> torch.Tensor:
    """``p``-norm over windows."""
    window = window_from(settings)
    pads = torch_padding(*padding_at(tuple(x.shape[2:]), window))
    return _sum_of_windows(torch.abs(x) ** power, window, pads) ** (1 / power)
