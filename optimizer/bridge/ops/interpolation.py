"""Interpolation along one axis in every coordinate mode of ONNX Resize.

Source positions are computed as ONNX defines them and turned into a few gathers with weights.
"""

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
) -> torch.Tensor:
    """Resize one axis of ``x`` to ``output`` elements.

    Args:
        x: Any shape.
        axis: Which axis, not negative.
        output: Its new size.
        scale: What the file calls the scale; not always ``output / size``.
        mode: ``nearest``, ``linear`` or ``cubic``.
        coordinates: ONNX's ``coordinate_transformation_mode``.
        rounding: ONNX's ``nearest_mode``.
        cubic: Coefficient of the cubic kernel.
        exclude_outside: Whether cubic weights outside the image are 0 instead of on its border.
    """
    size = x.shape[axis]
    position = _source(output, size, scale, coordinates, x.device)
    if mode == "nearest":
        return x.index_select(axis, _rounded(position, rounding).clamp(0, size - 1))
    first = torch.floor(position)
    fraction = position - first
    offsets, weights = _taps(fraction, cubic) if mode == "cubic" else _linear(fraction)
    sources = [first.to(torch.int64) + offset for offset in offsets]
    if exclude_outside:
        inside = [((source >= 0) & (source < size)).to(fraction.dtype) for source in sources]
        weights = [weight * flag for weight, flag in zip(weights, inside, strict=True)]
        total = torch.stack(weights).sum(0)
        weights = [weight / total for weight in weights]
    shape = (-1, *(1,) * (x.dim() - axis - 1))
    parts = [
        x.index_select(axis, source.clamp(0, size - 1)) * weight.to(x.dtype).reshape(shape)
        for source, weight in zip(sources, weights, strict=True)
    ]
    return torch.stack(parts).sum(0)


def _source(
    output: int, size: int, scale: float, coordinates: str, device: torch.device
) -> torch.Tensor:
    """Return where in the input each output element lies."""
    index = torch.arange(output, dtype=torch.float64, device=device)
    if coordinates == "align_corners":
        return index * ((size - 1) / (output - 1)) if output > 1 else index * 0
    if coordinates == "asymmetric":
        return index / scale
    if coordinates == "pytorch_half_pixel" and output == 1:
        return index * 0
    if coordinates == "half_pixel_symmetric":
        adjustment = output / (scale * size)
        centre = size / 2
        return centre * (1 - adjustment) + (index + 0.5) / scale - 0.5
    return (index + 0.5) / scale - 0.5


def _rounded(position: torch.Tensor, rounding: str) -> torch.Tensor:
    if rounding == "floor":
        chosen = torch.floor(position)
    elif rounding == "ceil":
        chosen = torch.ceil(position)
    elif rounding == "round_prefer_floor":
        chosen = torch.ceil(position - 0.5)
    else:
        chosen = torch.floor(position + 0.5)
    return chosen.to(torch.int64)


def _linear(fraction: torch.Tensor) -> tuple[list[int], list[torch.Tensor]]:
    return [0, 1], [1 - fraction, fraction]


def _taps(fraction: torch.Tensor, cubic: float) -> tuple[list[int], list[torch.Tensor]]:
    """Return offsets and weights of the cubic convolution kernel with coefficient ``cubic``."""

    def near(distance: torch.Tensor) -> torch.Tensor:
        return ((cubic + 2) * distance - (cubic + 3)) * distance * distance + 1

    def far(distance: torch.Tensor) -> torch.Tensor:
        return ((distance - 5) * distance + 8) * distance * cubic - 4 * cubic

    weights = [far(fraction + 1), near(fraction), near(1 - fraction), far(2 - fraction)]
    return [-1, 0, 1, 2], weights
