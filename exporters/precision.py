"""Half-precision models judged in single precision.

At 11 bits of mantissa (8 for bfloat16) rounding alone moves an output by more than a wrong channel
can, so no tolerance tells them apart. The proof therefore compares float32 twins: the same graph
and the same weights, every half type replaced. What is cut wrongly in one is in the other.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from exporters.draft import bodies
from exporters.weights import copy_without, to_array

_HALF = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "stash_type", "softmax_precision"})


def is_half(model: onnx.ModelProto) -> bool:
    """Whether weights, inputs or outputs of the model are float16 or bfloat16."""
    graph = model.graph
    values = (*graph.input, *graph.output)
    return any(tensor.data_type in _HALF for tensor in graph.initializer) or any(
        value.type.tensor_type.elem_type in _HALF for value in values
    )


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 twin of ``model``; a model without half types comes back as an equal copy."""
    result = copy_without(model, "initializer")
    result.graph.initializer.extend(_wide(tensor) for tensor in model.graph.initializer)
    _widen_values(result.graph)
    _widen_nodes(result.graph.node)
    return result


def _wide(tensor: TensorProto) -> TensorProto:
    if tensor.data_type not in _HALF:
        return tensor
    values = to_array(tensor).astype(np.float32)
    return onnx.numpy_helper.from_array(values, tensor.name)


def _widen_values(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _HALF:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _widen_nodes(nodes: Iterable[Any]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _HALF:
                attribute.i = TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.CopyFrom(_wide(attribute.t))
        for body in bodies(node):
            for tensor in body.initializer:
                tensor.CopyFrom(_wide(tensor))
            _widen_values(body)
            _widen_nodes(body.node)
