"""Rounding to the numbers of narrow types, as plain functions that a module may call.

Source of the float8 and float4 rules: the ONNX specification, "Float stored in 8 bits" and "Float
stored in 4 bits".
"""

import torch
from onnx import TensorProto

from optimizer.bridge.arrays import DTYPES, HELD_AS

INTEGERS: dict[int, tuple[int, int]] = {  # element type -> lowest and highest number
    TensorProto.INT2: (-2, 1),
    TensorProto.UINT2: (0, 3),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
}
FLOAT8 = frozenset(
    {
        TensorProto.FLOAT8E4M3FN,
        TensorProto.FLOAT8E4M3FNUZ,
        TensorProto.FLOAT8E5M2,
        TensorProto.FLOAT8E5M2FNUZ,
    }
)
_E4M3_OVERFLOW = 464.0  # half way from the highest number, 448, to the next one if there were one
_E8M0_LOWEST, _E8M0_HIGHEST, _E8M0_BIAS, _E8M0_NAN = 2.0**-127, 2.0**127, 127, 255


def to_float8(x: torch.Tensor, dtype: torch.dtype, *, saturate: bool) -> torch.Tensor:
    """Round to the nearest number of a float8 type.

    What is too large becomes the largest number with ``saturate``, else infinity where the type has
    one, else NaN.
    """
    if saturate:
        limit = torch.finfo(dtype).max
        return x.clamp(-limit, limit).to(dtype)
    if dtype == torch.float8_e4m3fn:
        return torch.where(x.abs() > _E4M3_OVERFLOW, torch.nan, x).to(dtype)
    return x.to(dtype)


def to_power_of_two(x: torch.Tensor, mode: str) -> torch.Tensor:
    """Round positive numbers to the powers of two of float8 E8M0: "up", "down" or "nearest"."""
    wide = x.to(torch.float32)
    mantissa, exponent = torch.frexp(wide.clamp(_E8M0_LOWEST, _E8M0_HIGHEST))  # 0.5 <= mantissa < 1
    limit = {"up": 0.5, "down": 1.0, "nearest": 0.75}[mode]
    above = mantissa >= limit if mode == "nearest" else mantissa > limit
    bits = (exponent - 1 + above.to(exponent.dtype) + _E8M0_BIAS).clamp(0, _E8M0_NAN - 1)
    bits = bits.masked_fill(wide.isnan(), _E8M0_NAN)
    return bits.to(torch.uint8).view(torch.float8_e8m0fnu)


def to_float4(x: torch.Tensor) -> torch.Tensor:
    """Round to the nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, ties to even.

    The type has no NaN; as in ONNX's own cases it becomes 0.
    """
    wide = x.to(torch.float32)
    wide = wide.masked_fill(wide.isnan(), 0.0)
    size = wide.abs().clamp(max=6.0)
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return torch.copysign(torch.round(size / step) * step, wide)


def wrapped(x: torch.Tensor, low: int, high: int, dtype: torch.dtype) -> torch.Tensor:
    """Drop the fraction and keep the lowest bits, as a cast to a type of 2 or 4 bits does."""
    return torch.remainder(x.to(torch.int64) - low, high - low + 1).add(low).to(dtype)


def narrowed(x: torch.Tensor, element_type: int, *, saturate: bool, mode: str) -> torch.Tensor:
    """Return ``x`` cast to an ONNX type of ``HELD_AS`` or a float8 type."""
    if element_type == TensorProto.FLOAT8E8M0:
        return to_power_of_two(x, mode)
    if element_type in FLOAT8:
        return to_float8(x, DTYPES[element_type], saturate=saturate)
    if element_type == TensorProto.FLOAT4E2M1:
        return to_float4(x)
    return wrapped(x, *INTEGERS[element_type], HELD_AS[element_type])


def is_narrow(element_type: int) -> bool:
    """Whether ``narrowed`` is what casts to the type."""
    return element_type in HELD_AS or element_type in {*FLOAT8, TensorProto.FLOAT8E8M0}
