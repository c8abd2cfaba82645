"""The same network in another float type, as half-precision and double exports have it."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT_KINDS = {
    "double": TensorProto.DOUBLE,
    "half": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}
_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_FLOAT_ONLY = {"Resize": (2,), "Upsample": (1,)}  # slots that take float32 whatever the data is


def in_float_kind(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """Return a copy of ``model`` in which everything that was float32 is of another float type.

    Bodies are converted as well, and half precision too if double is wanted. Values that do not fit
    the type become infinite.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _convert(copy.graph, kind)
    return copy


def _is_converted(found: int, kind: int) -> bool:
    is_widened = kind == TensorProto.DOUBLE and found in _NARROW
    return found == TensorProto.FLOAT or is_widened


def _convert(graph: onnx.GraphProto, kind: int) -> None:
    del graph.value_info[:]
    for info in (*graph.input, *graph.output):
        if _is_converted(info.type.tensor_type.elem_type, kind):
            info.type.tensor_type.elem_type = kind
    for tensor in graph.initializer:
        _convert_tensor(tensor, kind)
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            _convert_attribute(node, attribute, kind)
        nodes += [*_casts(node), node]
    del graph.node[:]
    graph.node.extend(nodes)


def _convert_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto, kind: int) -> None:
    if attribute.type == onnx.AttributeProto.TENSOR:
        _convert_tensor(attribute.t, kind)
    for body in (attribute.g, *attribute.graphs):
        if body.node:
            _convert(body, kind)
    if attribute.name in ("to", "dtype") and _is_converted(attribute.i, kind):
        attribute.i = kind
    if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        value = np.array(helper.get_attribute_value(attribute), np.float32)
        tensor = numpy_helper.from_array(value)
        _convert_tensor(tensor, kind)
        attribute.CopyFrom(helper.make_attribute("value", tensor))


def _convert_tensor(tensor: onnx.TensorProto, kind: int) -> None:
    if not _is_converted(tensor.data_type, kind):
        return
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    with np.errstate(over="ignore"):
        converted = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype))
    converted.name, converted.doc_string = tensor.name, tensor.doc_string
    tensor.CopyFrom(converted)


def _casts(node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
    for slot in _FLOAT_ONLY.get(node.op_type, ()):
        if slot < len(node.input) and node.input[slot]:
            name = f"{node.output[0]}/slot{slot}"
            yield helper.make_node("Cast", [node.input[slot]], [name], to=TensorProto.FLOAT)
            node.input[slot] = name
