"""Pooling over windows and over whole images."""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.ops.convolution import padded
from optimizer.bridge.ops.windows import (
    Sizes,
    Window,
    kernel_of,
    padding_at,
    torch_padding,
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
    window, ceil = _window(call), bool(call.attribute("ceil_mode", 0))
    x = call.tensor(0)
    if call.num_outputs > 1:
        call.require("storage_order", 0, covered=0)
        settings = (window.kernel, window.stride, window.dilation, window.begin, window.end)
        return call.write.emit_many(2, max_pool_with_indices, x, settings, window.same, ceil=ceil)
    padding = window.begin
    if not _fits_torch(window):
        padding = (0,) * len(padding)
        x = padded(call, x, window, -float("inf"))
    function = _MAX[len(window.kernel)]
    return call.write.emit(
        function, x, window.kernel, window.stride, padding, window.dilation, ceil
    )


@operator("AveragePool")
def average_pool(call: Call) -> Value:
    """Mean over windows, with or without the padding in the count."""
    window, ceil = _window(call), bool(call.attribute("ceil_mode", 0))
    include = bool(call.attribute("count_include_pad", 0))
    x = call.tensor(0)
    if _fits_torch(window) and set(window.dilation) == {1}:
        function = _AVERAGE[len(window.kernel)]
        return call.write.emit(
            function, x, window.kernel, window.stride, window.begin, ceil, include
        )
    settings = (window.kernel, window.stride, window.dilation, window.begin, window.end)
    return call.write.emit(average_windows, x, settings, window.same, ceil=ceil, include=include)


@operator("LpPool")
def lp_pool(call: Call) -> Value:
    """``p``-norm over windows."""
    window, ceil = _window(call), bool(call.attribute("ceil_mode", 0))
    settings = (window.kernel, window.stride, window.dilation, window.begin, window.end)
    power = call.attribute("p", 2)
    return call.write.emit(
        norm_of_windows, call.tensor(0), settings, window.same, ceil=ceil, power=power
    )


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


_Settings = tuple[Sizes, Sizes, Sizes, Sizes, Sizes]


def _placed(x: torch.Tensor, settings: _Settings, same: str) -> tuple[Window, Sizes, Sizes]:
    kernel, stride, dilation, begin, end = settings
    window = Window(
        kernel=kernel, stride=stride, dilation=dilation, begin=begin, end=end, same=same
    )
    return window, *padding_at(tuple(x.shape[2:]), window)


def max_pool_with_indices(
    x: torch.Tensor, settings: _Settings, same: str, *, ceil: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return maxima and their positions in the flattened ``x``."""
    window, begin, end = _placed(x, settings, same)
    spatial = tuple(x.shape[2:])
    positions = torch.arange(x.numel(), device=x.device, dtype=torch.float64).reshape(x.shape)
    padding = torch_padding(begin, end)
    wide = functional.pad(x, padding, "constant", -float("inf"))
    function = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[
        len(spatial)
    ]
    maxima, found = function(
        wide, window.kernel, window.stride, 0, window.dilation, ceil, return_indices=True
    )
    flat = functional.pad(positions, padding).flatten(2)
    indices = flat.gather(2, found.flatten(2)).reshape(found.shape)
    return maxima, indices.to(torch.int64)


def _sum_of_windows(
    x: torch.Tensor, window: Window, begin: Sizes, end: Sizes, *, ceil: bool
) -> torch.Tensor:
    """Sum over windows of ``(N, C, *spatial)``, padded with zeros; the last may stick out."""
    if ceil:
        end = tuple(
            after + _overhang(size + before + after, reach, stride)
            for size, before, after, reach, stride in zip(
                x.shape[2:], begin, end, window.reach, window.stride, strict=True
            )
        )
    wide = functional.pad(x, torch_padding(begin, end))
    single = wide.reshape(-1, 1, *wide.shape[2:])
    ones = torch.ones(1, 1, *window.kernel, dtype=x.dtype, device=x.device)
    conv = _CONV[len(window.kernel)]
    sums = conv(single, ones, None, window.stride, 0, window.dilation)
    return sums.reshape(x.shape[0], x.shape[1], *sums.shape[2:])


def _overhang(size: int, reach: int, stride: int) -> int:
    """Return how far a last window sticks out that ceil_mode adds; it must start inside."""
    missing = -(size - reach) % stride
    return missing if missing < reach else 0


def average_windows(
    x: torch.Tensor, settings: _Settings, same: str, *, ceil: bool, include: bool
) -> torch.Tensor:
    """Mean over windows for paddings and dilations that torch's pooling does not take."""
    window, begin, end = _placed(x, settings, same)
    counted = torch.ones_like(x[:1, :1])
    if include:
        counted = functional.pad(counted, torch_padding(begin, end), "constant", 1.0)
    inner = ((0,) * len(begin), (0,) * len(begin)) if include else (begin, end)
    counts = _sum_of_windows(counted, window, *inner, ceil=ceil)
    return _sum_of_windows(x, window, begin, end, ceil=ceil) / counts


def norm_of_windows(
    x: torch.Tensor, settings: _Settings, same: str, *, ceil: bool, power: int
) -> torch.Tensor:
    """``p``-norm over windows."""
    window, begin, end = _placed(x, settings, same)
    total = _sum_of_windows(torch.abs(x) ** power, window, begin, end, ceil=ceil)
    return total ** (1 / power)
