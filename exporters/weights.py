"""Initializers as arrays and back, byte for byte: read, slice, zero, overwrite.

Works on the bytes themselves, so that a type numpy has no name for (bfloat16, float8, int4) and a
value that is not a number pass through unchanged. Which positions go is decided elsewhere.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from exporters.errors import SurgeryError

Indices = npt.NDArray[np.int64]

_PACKED = frozenset(  # several elements share a byte, or there is no fixed element size
    getattr(onnx.TensorProto, name)
    for name in ("STRING", "INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")
    if hasattr(onnx.TensorProto, name)
)


def to_array(tensor: onnx.TensorProto) -> npt.NDArray[np.generic]:
    """The values of ``tensor``; a read-only view of its bytes wherever the storage allows it.

    Raises:
        SurgeryError: The data is in another file and was not loaded.
    """
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        message = f"initializer {tensor.name!r} keeps its data outside the file; load it first"
        raise SurgeryError(message, param=tensor.name)
    if tensor.HasField("raw_data") and tensor.data_type not in _PACKED:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.frombuffer(tensor.raw_data, dtype).reshape(tuple(tensor.dims))
    return np.asarray(numpy_helper.to_array(tensor))


def with_values(
    tensor: onnx.TensorProto,
    values: npt.NDArray[np.generic],
    *,
    name: str | None = None,
) -> onnx.TensorProto:
    """A new tensor with the name, type, doc string and metadata of ``tensor``, holding ``values``.

    The shape is that of ``values``; ``tensor`` is left alone.
    """
    result = onnx.TensorProto()
    if tensor.data_type in _PACKED:
        result.CopyFrom(numpy_helper.from_array(values))
    else:
        result.dims.extend(values.shape)
        result.raw_data = np.ascontiguousarray(values).tobytes()
    result.data_type = tensor.data_type
    result.name = tensor.name if name is None else name
    if tensor.HasField("doc_string"):
        result.doc_string = tensor.doc_string
    result.metadata_props.extend(tensor.metadata_props)
    return result


def take(tensor: onnx.TensorProto, keep: Mapping[int, Indices]) -> onnx.TensorProto:
    """``tensor`` with only the positions ``keep[axis]`` left along each axis named.

    Raises:
        SurgeryError: An axis or an index that the tensor does not have, or indices out of order.
    """
    values = to_array(tensor)
    for axis, indices in sorted(keep.items(), key=lambda item: len(item[1])):
        _check_indices(tensor, axis, indices)
        values = np.take(values, indices, axis=axis)
    return with_values(tensor, values)


def _check_indices(tensor: onnx.TensorProto, axis: int, indices: Indices) -> None:
    where = f"initializer {tensor.name!r} of shape {tuple(tensor.dims)}"
    if not 0 <= axis < len(tensor.dims):
        msg = f"{where} has no axis {axis} to cut"
        raise SurgeryError(msg, param=tensor.name)
    if not len(indices):
        msg = f"{where} would keep nothing along axis {axis}"
        raise SurgeryError(msg, param=tensor.name)
    if np.any(np.diff(indices) <= 0) or indices[0] < 0 or indices[-1] >= tensor.dims[axis]:
        message = f"{where}: the indices to keep along axis {axis} are not ascending inside it"
        raise SurgeryError(message, param=tensor.name)


def zeroed(
    tensor: onnx.TensorProto, slices: Iterable[tuple[int, Iterable[int]]]
) -> onnx.TensorProto:
    """``tensor`` with every (axis, indices) of ``slices`` set to zero."""
    values = to_array(tensor).copy()
    for axis, indices in slices:
        values[(slice(None),) * axis + (list(indices),)] = 0
    return with_values(tensor, values)


def overwritten(tensor: onnx.TensorProto, values: npt.NDArray[np.generic]) -> onnx.TensorProto:
    """``tensor`` holding the trained ``values``.

    Raises:
        SurgeryError: Shape or element type differ; casting in silence would lose precision.
    """
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if values.shape != tuple(tensor.dims) or values.dtype != dtype:
        message = (
            f"weights for {tensor.name!r} are {values.dtype}{list(values.shape)}, "
            f"the model holds {dtype}{list(tensor.dims)}"
        )
        raise SurgeryError(message, param=tensor.name)
    return with_values(tensor, values)


def trained(
    model: onnx.ModelProto, weights: Mapping[str, npt.NDArray[np.generic]] | None
) -> dict[str, onnx.TensorProto]:
    """The initializers of ``model`` by name and in order, ``weights`` written into them.

    Those that ``weights`` does not name are the model's own objects: read them, do not edit them.

    Raises:
        SurgeryError: ``weights`` names no initializer of the model, or does not fit it.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, values in (weights or {}).items():
        if name not in tensors:
            msg = f"weights given for {name!r}, which is no initializer"
            raise SurgeryError(msg, param=name)
        tensors[name] = overwritten(tensors[name], values)
    return tensors


def copy_without(model: onnx.ModelProto, *left_out: str) -> onnx.ModelProto:
    """Everything of ``model`` but the fields ``left_out`` of its main graph.

    Weights are most of a file: copying without ``initializer`` keeps one copy of them in memory.
    """
    copy = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            continue
        target = getattr(copy, field.name)
        if field.is_repeated:
            target.extend(value)
        else:
            setattr(copy, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name in left_out:
            continue
        if field.is_repeated:
            getattr(copy.graph, field.name).extend(value)
        else:
            setattr(copy.graph, field.name, value)
    return copy
