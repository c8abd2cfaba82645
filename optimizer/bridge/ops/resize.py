"""Resize and Upsample: torch's interpolation where it means the same, else axis by axis."""

import math
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue
from optimizer.bridge.ops.interpolation import interpolate_axis
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value

_TORCH_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to resize, in ONNX's words; plain values, so that it can stand in generated code."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    exclude_outside: bool
    policy: str
    antialias: bool
    axes: tuple[int, ...] | None
    extrapolation: float


@operator("Upsample")
def upsample(call: Call) -> Value:
    """Versions 7 and 9: scales only, the asymmetric coordinates, as in version 10."""
    scales = call.numbers(1) if call.has(1) else tuple(call.attribute("scales", ()))
    return _resize(call, _plan(call, coordinates="asymmetric", rounding="outwards"), scales, None)


@operator("Resize")
def resize_10(call: Call) -> Value:
    """Version 10: as Upsample; the nearest element is above the position where an axis shrinks."""
    plan = _plan(call, coordinates="asymmetric", rounding="outwards")
    return _resize(call, plan, call.numbers(1), None)


@operator("Resize", since=11)
def resize(call: Call) -> Value:
    """From version 11: scales or sizes, coordinate and rounding modes."""
    coordinates = call.attribute("coordinate_transformation_mode", "half_pixel")
    plan = _plan(
        call, coordinates=coordinates, rounding=call.attribute("nearest_mode", "round_prefer_floor")
    )
    scales = call.numbers(2) if _is_given(call, 2) else None
    sizes = call.numbers(3) if _is_given(call, 3) else None
    if coordinates != "tf_crop_and_resize":
        return _resize(call, plan, scales, sizes)
    if plan.antialias or plan.exclude_outside or plan.policy != "stretch":
        message = (
            "that crops, with antialias, exclude_outside or a kept aspect ratio is not covered"
        )
        raise UnsupportedVariant(message)
    settings, roi = tuple(vars(plan).items()), call.numbers(1)
    return call.write.emit(resize_axes, call.tensor(0), scales, sizes, settings, roi)


def _is_given(call: Call, position: int) -> bool:
    return call.has(position) and call.value(position).shape() != (0,)


def _plan(call: Call, *, coordinates: str, rounding: str) -> Plan:
    axes = call.attribute("axes")
    return Plan(
        mode=call.attribute("mode", "nearest"),
        coordinates=coordinates,
        rounding=rounding,
        cubic=call.attribute("cubic_coeff_a", -0.75),
        exclude_outside=bool(call.attribute("exclude_outside", 0)),
        policy=call.attribute("keep_aspect_ratio_policy", "stretch"),
        antialias=bool(call.attribute("antialias", 0)),
        axes=None if axes is None else tuple(axes),
        extrapolation=call.attribute("extrapolation_value", 0.0),
    )


def _resize(
    call: Call, plan: Plan, scales: Value | HostValue | None, sizes: Value | HostValue | None
) -> Value:
    x = call.tensor(0)
    if plan.rounding == "outwards" and isinstance(scales, tuple) and min(scales) >= 1:
        plan = replace(plan, rounding="floor")
    fast = _torch_mode(plan, x.rank)
    if fast is not None and not isinstance(scales, Value) and not isinstance(sizes, Value):
        settled = _spatial(scales, sizes, x)
        if settled is not None:
            size, factor = settled
            mode, align = fast
            if plan.coordinates == "pytorch_half_pixel" and not _stays_wide(x, size, factor):
                return call.write.emit(resize_axes, x, scales, sizes, tuple(vars(plan).items()))
            return call.write.emit(functional.interpolate, x, size, factor, mode, align)
    settings = tuple(vars(plan).items())
    return call.write.emit(resize_axes, x, scales, sizes, settings)


def _torch_mode(plan: Plan, rank: int | None) -> tuple[str, bool | None] | None:
    """Return mode and align_corners of ``functional.interpolate`` if it computes the same."""
    if (
        plan.antialias
        or rank not in _TORCH_LINEAR
        or plan.axes is not None
        or plan.policy != "stretch"
    ):
        return None
    if plan.mode == "nearest":
        same = plan.coordinates == "asymmetric" and plan.rounding == "floor"
        return ("nearest", None) if same else None
    half_pixel = plan.coordinates in {"half_pixel", "pytorch_half_pixel"}
    if plan.mode == "linear" and (half_pixel or plan.coordinates == "align_corners"):
        return _TORCH_LINEAR[rank], not half_pixel
    return None


def _stays_wide(x: Value, size: tuple[int, ...] | None, factor: tuple[float, ...] | None) -> bool:
    """Whether no spatial axis becomes a single element, which takes the first one, not the middle.

    torch has no such exception, although the mode is called after it.
    """
    if size is not None:
        return min(size) > 1
    shape = x.static_shape
    if factor is None or shape is None:
        return False
    known = zip(shape[2:], factor, strict=True)
    return all(scale >= 2 or (count or 0) * scale >= 2 for count, scale in known)


def _spatial(
    scales: HostValue | None, sizes: HostValue | None, x: Value
) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None] | None:
    """Return size and factor of the spatial axes, ``None`` if batch or channels change as well."""
    if isinstance(sizes, tuple):
        static = x.static_shape
        leading = x.shape(0)
        if static is None or leading is None or tuple(sizes[:2]) != leading[:2]:
            return None
        return tuple(int(size) for size in sizes[2:]), None
    if not isinstance(scales, tuple) or tuple(scales[:2]) != (1, 1):
        return None
    return None, tuple(float(scale) for scale in scales[2:])


def resize_axes(
    x: torch.Tensor,
    scales: HostValue | None,
    sizes: HostValue | None,
    settings: tuple[tuple[str, object], ...],
    roi: HostValue | None = None,
) -> torch.Tensor:
    """Resize one axis after the other; linear and cubic interpolation are separable.

    ``roi`` says which part of the image to resize: the begins of all axes, then the ends, as
    shares of the image. What lies outside of the image gets the extrapolation value. Scales are
    those of the whole image, as ONNX Runtime and onnx's own evaluator have it; ONNX's text differs.
    """
    plan = Plan(**dict(settings))  # type: ignore[arg-type]
    axes = plan.axes if plan.axes is not None else tuple(range(x.dim()))
    axes = tuple(axis % x.dim() for axis in axes)
    inputs = tuple(x.shape[axis] for axis in axes)
    regions = [(0.0, 1.0)] * len(axes)
    if isinstance(roi, tuple):
        half = len(roi) // 2
        regions = [(float(roi[place]), float(roi[place + half])) for place in range(half)]
    factors, outputs = _target(plan, inputs, scales, sizes)
    for axis, factor, output, region in zip(axes, factors, outputs, regions, strict=True):
        if output != x.shape[axis] or factor != 1 or region != (0.0, 1.0):
            x = interpolate_axis(
                x,
                axis,
                output,
                factor,
                mode=plan.mode,
                coordinates=plan.coordinates,
                rounding=plan.rounding,
                cubic=plan.cubic,
                exclude_outside=plan.exclude_outside,
                antialias=plan.antialias,
                region=region,
                extrapolation=plan.extrapolation,
            )
    return x


def _target(
    plan: Plan, inputs: tuple[int, ...], scales: HostValue | None, sizes: HostValue | None
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return scale and output size per axis."""
    if sizes is None:
        assert isinstance(scales, tuple)
        factors = tuple(float(scale) for scale in scales)
        outputs = zip(inputs, factors, strict=True)
        return factors, tuple(math.floor(size * factor) for size, factor in outputs)
    assert isinstance(sizes, tuple)
    ratios = [size / before for size, before in zip(sizes, inputs, strict=True)]
    if plan.policy == "stretch":
        return tuple(ratios), tuple(int(size) for size in sizes)
    ratio = min(ratios) if plan.policy == "not_larger" else max(ratios)
    return (ratio,) * len(inputs), tuple(math.floor(size * ratio + 0.5) for size in inputs)
