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
}


def tensor_from_proto(proto: onnx.TensorProto) -> torch.Tensor:
    """Copy an initializer into a CPU tensor of the same shape and element type.

    Raises:
        TypeError: The element type has no torch counterpart (strings, 4-bit integers, float8).
    """
    if proto.data_type not in DTYPES:
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
    """Copy an array; bfloat16 arrives as the ``ml_dtypes`` type that onnx uses."""
    array = np.array(array, order="C")  # protobuf memory is read-only, and torch warns about it
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def array_from_tensor(tensor: torch.Tensor) -> np.ndarray:
    """Copy a tensor from any device into an array; the inverse of ``tensor_from_array``."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
        return np.array(tensor.numpy().view(ml_dtypes.bfloat16))
    array: np.ndarray = tensor.numpy()
    return array.copy()
