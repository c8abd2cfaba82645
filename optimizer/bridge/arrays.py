"""Initializer bytes to torch tensors and back, bit for bit, with the element types of ONNX."""

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import AttributeProto, TensorProto, helper, numpy_helper

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.BOOL: torch.bool,
    TensorProto.COMPLEX64: torch.complex64,
    TensorProto.COMPLEX128: torch.complex128,
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
    TensorProto.FLOAT8E8M0: torch.float8_e8m0fnu,
}
HELD_AS: dict[int, torch.dtype] = {  # types of a few bits: their numbers in a type that torch has
    TensorProto.INT2: torch.int8,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT2: torch.uint8,
    TensorProto.UINT4: torch.uint8,
    TensorProto.FLOAT4E2M1: torch.float32,
}
_ARRAYS: dict[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in (
        ("int2", np.int8),
        ("int4", np.int8),
        ("uint2", np.uint8),
        ("uint4", np.uint8),
        ("float4_e2m1fn", np.float32),
    )
}
_BY_BITS: dict[torch.dtype, tuple[type, torch.dtype]] = {  # of what NumPy itself does not know
    torch.bfloat16: (ml_dtypes.bfloat16, torch.int16),
    torch.float8_e4m3fn: (ml_dtypes.float8_e4m3fn, torch.uint8),
    torch.float8_e4m3fnuz: (ml_dtypes.float8_e4m3fnuz, torch.uint8),
    torch.float8_e5m2: (ml_dtypes.float8_e5m2, torch.uint8),
    torch.float8_e5m2fnuz: (ml_dtypes.float8_e5m2fnuz, torch.uint8),
    torch.float8_e8m0fnu: (ml_dtypes.float8_e8m0fnu, torch.uint8),
}


def dtype_of(element_type: int) -> torch.dtype | None:
    """Return what holds the numbers of an ONNX element type; ``None`` if nothing in torch does."""
    return DTYPES.get(element_type) or HELD_AS.get(element_type)


def tensor_from_proto(proto: onnx.TensorProto) -> torch.Tensor:
    """Copy an initializer into a CPU tensor of the same shape and element type.

    Numbers of 2 and 4 bits are unpacked into the type of ``HELD_AS``.

    Raises:
        TypeError: The element type has no torch counterpart (strings).
    """
    if dtype_of(proto.data_type) is None:
        kind = helper.tensor_dtype_to_string(proto.data_type)
        message = f"initializer '{proto.name}' holds {kind}, which torch cannot"
        raise TypeError(message)
    return tensor_from_array(numpy_helper.to_array(proto))


def constant_proto(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Copy the value of a Constant node; ``None`` for strings and sparse tensors."""
    if not node.attribute:
        return None
    attribute = node.attribute[0]
    if attribute.type == AttributeProto.TENSOR:
        proto = TensorProto()
        proto.CopyFrom(attribute.t)
        return proto
    value = helper.get_attribute_value(attribute)
    if attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
        return numpy_helper.from_array(np.array(value, np.float32))
    if attribute.type in (AttributeProto.INT, AttributeProto.INTS):
        return numpy_helper.from_array(np.array(value, np.int64))
    return None


def tensor_from_array(array: np.ndarray) -> torch.Tensor:
    """Copy an array; types that NumPy lacks arrive as the ``ml_dtypes`` types that onnx uses."""
    array = np.array(array, order="C")  # protobuf memory is read-only, and torch warns about it
    if array.dtype.name in _ARRAYS:
        return torch.from_numpy(array.astype(_ARRAYS[array.dtype.name]))
    for dtype, (kind, bits) in _BY_BITS.items():
        if array.dtype == kind:
            return torch.from_numpy(array.view(_bits_in_numpy(bits))).view(dtype)
    return torch.from_numpy(array)


def array_from_tensor(tensor: torch.Tensor) -> np.ndarray:
    """Copy a tensor from any device into an array; the inverse of ``tensor_from_array``."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype in _BY_BITS:
        kind, bits = _BY_BITS[tensor.dtype]
        return np.array(tensor.view(bits).numpy().view(kind))
    array: np.ndarray = tensor.numpy()
    return array.copy()


def _bits_in_numpy(bits: torch.dtype) -> type:
    return np.int16 if bits == torch.int16 else np.uint8
