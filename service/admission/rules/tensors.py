"""Rules about stored tensors: inside the file, of a known type, as long as their shape says.

Applied to initializers and to tensors in attributes, in every graph and function.
"""

import math
from collections.abc import Iterator, Sequence

import onnx
from onnx import TensorProto

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, Place, all_places

ELEMENT_BYTES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.UINT8: 1,
    TensorProto.INT8: 1,
    TensorProto.UINT16: 2,
    TensorProto.INT16: 2,
    TensorProto.INT32: 4,
    TensorProto.INT64: 8,
    TensorProto.BOOL: 1,
    TensorProto.FLOAT16: 2,
    TensorProto.DOUBLE: 8,
    TensorProto.UINT32: 4,
    TensorProto.UINT64: 8,
    TensorProto.BFLOAT16: 2,
}
_FIELD: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def check_tensors(context: Context) -> None:
    """Check every stored tensor.

    Raises:
        AdmissionError: ``model-external-data``, ``model-rank``, ``model-dim-negative``,
            ``model-dtype``, ``model-tensor-too-large``, ``model-tensor-size`` or
            ``model-sparse-tensor``.
    """
    for place in all_places(context.model):
        if place.graph is not None and place.graph.sparse_initializer:
            refuse("model-sparse-tensor", "sparse initializers are not supported; store them dense")
        for tensor, name in _tensors(place):
            _check_tensor(tensor, name, context)


def check_dims(dims: Sequence[int], name: str, element_bytes: int, context: Context) -> int:
    """Check a shape; its number of bytes.

    Raises:
        AdmissionError: ``model-rank``, ``model-dim-negative`` or ``model-tensor-too-large``.
    """
    limits = context.limits
    if len(dims) > limits.rank:
        message = f"tensor {shown(name)} has {len(dims)} dimensions, more than {limits.rank}"
        refuse("model-rank", message, param=name, limit=limits.rank, actual=len(dims))
    for dim in dims:
        if dim < 0:
            message = (
                f"tensor {shown(name)} has the negative dimension {dim}; export the model again"
            )
            refuse("model-dim-negative", message, param=name, actual=dim)
    size = math.prod(dims) * element_bytes
    # also without the zeros: [2**62, 0] holds nothing, but native code multiplies in 64 bits
    if math.prod(dim or 1 for dim in dims) * element_bytes > limits.tensor_bytes:
        message = (
            f"tensor {shown(name)} of shape {list(dims)} needs more than the limit of "
            f"{limits.tensor_bytes} bytes"
        )
        refuse("model-tensor-too-large", message, param=name, limit=limits.tensor_bytes)
    return size


def check_type(code: int, name: str) -> int:
    """Check an element type; its bytes per element.

    Raises:
        AdmissionError: ``model-dtype``.
    """
    if code not in ELEMENT_BYTES:
        known = code in TensorProto.DataType.values()
        called = TensorProto.DataType.Name(code) if known else f"number {code}"
        message = f"tensor {shown(name)} has the element type {called}, which is not supported"
        refuse("model-dtype", message, param=name)
    return ELEMENT_BYTES[code]


def _tensors(place: Place) -> Iterator[tuple[TensorProto, str]]:
    if place.graph is not None:
        yield from ((tensor, tensor.name) for tensor in place.graph.initializer)
    for node in place.nodes:
        for attribute in node.attribute:
            name = next(iter(node.output), node.name)
            if attribute.HasField("t"):
                yield attribute.t, name
            yield from ((tensor, name) for tensor in attribute.tensors)


def _check_tensor(tensor: TensorProto, name: str, context: Context) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        message = (
            f"the values of tensor {shown(name)} are in another file; save the model with its "
            "weights inside (onnx.save without external data)"
        )
        refuse("model-external-data", message, param=name)
    element_bytes = check_type(tensor.data_type, name)
    size = check_dims(tensor.dims, name, element_bytes, context)
    _check_length(tensor, name, size, size // element_bytes)


def _check_length(tensor: TensorProto, name: str, size: int, elements: int) -> None:
    """Exactly the bytes, or exactly the numbers, that the shape requires."""
    counts = {field: len(getattr(tensor, field)) for field in _FIELDS}
    own = _FIELD.get(tensor.data_type, "int32_data")
    given = counts.pop(own)
    raw = len(tensor.raw_data)
    fits = (raw, given) == (size, 0) if tensor.HasField("raw_data") else given == elements
    if not fits or any(counts.values()) or tensor.HasField("segment"):
        actual = raw if tensor.HasField("raw_data") else given * (size // max(elements, 1))
        message = (
            f"tensor {shown(name)} of shape {list(tensor.dims)} needs {size} bytes, but the file "
            f"holds {actual}; export the model again"
        )
        refuse("model-tensor-size", message, param=name, limit=size, actual=actual)


def float_initializers(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Initializers of a floating-point type."""
    kinds = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    yield from (tensor for tensor in graph.initializer if tensor.data_type in kinds)
