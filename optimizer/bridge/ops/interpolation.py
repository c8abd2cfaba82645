"""Interpolation along one axis in every coordinate mode of ONNX Resize.

Source positions are computed as ONNX defines them and turned into a few gathers with weights.
"""

import math
from collections.abc import Callable
from functools import partial

import torch


def interpolate_axis(
    x: torch.Tensor,
    axis: int,
    output: int,
    scale: float,
    *,
    mode: str,
    coordinates: str,
    rounding: str,
    cubic: float,
    exclude_outside: bool,
    antialias: bool,
    region: tuple[float, float] = (0.0, 1.0),
    extrapolation: float = 0.0,
) -> torch.Tensor:
    """Resize one axis of ``x`` to ``output`` elements.

    Args:
        x: Any shape.
        axis: Which axis, not negative.
        output: Its new size.
        scale: What the file calls the scale; not always ``output / size``.
        mode: ``nearest``, ``linear`` or ``cubic``.
        coordinates: ONNX's ``coordinate_transformation_mode``.
        rounding: ONNX's ``nearest_mode``; ``outwards``: up if the axis shrinks, else down.
        cubic: Coefficient of the cubic kernel.
        exclude_outside: Whether weights outside the image are 0 instead of on its border.
        antialias: Whether the kernel widens when the image shrinks.
        region: Begin and end of the part to resize, for ``tf_crop_and_resize``.
        extrapolation: What lies outside of the image then.
    """
    size = x.shape[axis]
    if coordinates == "tf_crop_and_resize":
        position = _cropped(output, size, region, x.device)
    else:
        position = _source(output, size, scale, coordinates, x.device)
    shape = (-1, *(1,) * (x.dim() - axis - 1))
    outside = ((position < 0) | (position > size - 1)).reshape(shape)
    if mode == "nearest":
        picked = x.index_select(axis, _rounded(position, rounding, scale).clamp(0, size - 1))
        if coordinates == "tf_crop_and_resize":
            picked = picked.masked_fill(outside, extrapolation)
        return picked
    kernel = partial(_cubic, coefficient=cubic) if mode == "cubic" else _linear
    narrowing = min(scale, 1.0) if antialias else 1.0
    reach = 2 if mode == "cubic" else 1
    sources, weights = _taps(position, kernel, reach, narrowing)
    if exclude_outside:
        weights = [
            torch.where((source >= 0) & (source < size), weight, torch.zeros_like(weight))
            for source, weight in zip(sources, weights, strict=True)
        ]
    if exclude_outside or antialias:
        total = torch.stack(weights).sum(0)
        weights = [weight / total for weight in weights]
    parts = [
        x.index_select(axis, source.clamp(0, size - 1)) * weight.to(x.dtype).reshape(shape)
        for source, weight in zip(sources, weights, strict=True)
    ]
    resized = torch.stack(parts).sum(0)
    if coordinates == "tf_crop_and_resize":
        resized = resized.masked_fill(outside, extrapolation)
    return resized


def _taps(
    position: torch.Tensor,
    kernel: Callable[[torch.Tensor], torch.Tensor],
    reach: int,
    narrowing: float,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the input elements around each position and the kernel's value at each."""
    first = torch.floor(position)
    begin = math.floor(-reach / narrowing) + 1
    sources, weights = [], []
    for offset in range(begin, 2 - begin if narrowing < 1 else reach + 1):
        sources.append(first.to(torch.int64) + offset)
        weights.append(kernel(torch.abs(first + offset - position) * narrowing))
    return sources, weights


def _source(
    output: int, size: int, scale: float, coordinates: str, device: torch.device
) -> torch.Tensor:
    """Return where in the input each output element lies."""
    index = torch.arange(output, dtype=torch.float32, device=device)  # as ONNX Runtime computes
    ratio = torch.full_like(index, scale)
    if coordinates == "align_corners":
        return index * ((size - 1) / (output - 1)) if output > 1 else index * 0
    if coordinates == "asymmetric":
        return index / ratio
    if coordinates == "pytorch_half_pixel" and output == 1:
        return index * 0
    if coordinates == "half_pixel_symmetric":
        adjustment = output / (scale * size)
        centre = size / 2
        return centre * (1 - adjustment) + (index + 0.5) / ratio - 0.5
    return (index + 0.5) / ratio - 0.5


def _cropped(
    output: int, size: int, region: tuple[float, float], device: torch.device
) -> torch.Tensor:
    """Return where in the input each output element of a part of it lies."""
    begin, end = region
    if output == 1:
        return torch.full((1,), (begin + end) / 2 * (size - 1), device=device)
    index = torch.arange(output, dtype=torch.float32, device=device)
    return index * ((end - begin) * (size - 1) / (output - 1)) + begin * (size - 1)


def _rounded(position: torch.Tensor, rounding: str, scale: float) -> torch.Tensor:
    if rounding == "outwards":  # what versions up to 10 do, in which no mode could be chosen
        rounding = "ceil" if scale < 1 else "floor"
    if rounding == "floor":
        chosen = torch.floor(position)
    elif rounding == "ceil":
        chosen = torch.ceil(position)
    elif rounding == "round_prefer_floor":
        chosen = torch.ceil(position - 0.5)
    else:
        chosen = torch.floor(position + 0.5)
    return chosen.to(torch.int64)


def _linear(distance: torch.Tensor) -> torch.Tensor:
    return torch.clamp(1 - distance, min=0)


def _cubic(distance: torch.Tensor, *, coefficient: float) -> torch.Tensor:
    """Cubic convolution kernel at distances of 0 and more."""
    near = ((coefficient + 2) * distance - (coefficient + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * coefficient
    beyond = torch.zeros_like(distance)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, beyond))
