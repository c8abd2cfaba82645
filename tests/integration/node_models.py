"""The onnx package's own models of single operators, with weights where they have none.

Nearly all of them take everything as inputs. ``with_weights`` turns the float inputs behind the
first into initializers, with the values that the test feeds, so that there is something to cut.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)


@dataclass(frozen=True, kw_only=True)
class NodeModel:
    """One of them, and the values it is fed in its own test."""

    name: str
    model: onnx.ModelProto
    feeds: Mapping[str, np.ndarray]


@cache
def node_models() -> tuple[NodeModel, ...]:
    """Every one with a float input or weight, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy, on overflows that the tests are about
        cases = collect_testcases(None)
    found = []
    for case in cases:
        if case.model is None or not _has_floats(case.model.graph):
            continue
        values = case.data_sets[0][0] if case.data_sets else ()
        names = [value.name for value in case.model.graph.input]
        feeds = {
            name: value
            for name, value in zip(names, values, strict=False)
            if isinstance(value, np.ndarray | np.generic)
        }
        found.append(NodeModel(name=case.name, model=case.model, feeds=feeds))
    return tuple(sorted(found, key=lambda entry: entry.name))


def _has_floats(graph: onnx.GraphProto) -> bool:
    inputs = {value.type.tensor_type.elem_type for value in graph.input}
    return bool(FLOATS & (inputs | {tensor.data_type for tensor in graph.initializer}))


def with_weights(entry: NodeModel) -> onnx.ModelProto | None:
    """The model with its float inputs as weights, the first excepted; None if there are none.

    Inputs of integers (sizes, axes, indices) become initializers as well: they are constants in
    what exporters write.
    """
    model = onnx.ModelProto()
    model.CopyFrom(entry.model)
    inputs = list(model.graph.input)
    found = False
    for value in inputs[1:]:
        given = entry.feeds.get(value.name)
        if given is None or not value.type.HasField("tensor_type"):
            continue
        tensor = numpy_helper.from_array(np.asarray(given), value.name)
        if tensor.data_type != value.type.tensor_type.elem_type:
            continue
        model.graph.initializer.append(tensor)
        model.graph.input.remove(value)
        found = found or tensor.data_type in FLOATS
    return model if found else None


def behind_a_layer(entry: NodeModel) -> onnx.ModelProto | None:
    """The operator between two layers, so that the axes of its tensors are not those of the graph.

    A MatMul without bias in front of its first float input and one behind its first float output,
    along the last axis; None where the shapes do not allow it.
    """
    model = with_weights(entry) or _copy(entry.model)
    graph = model.graph
    if not graph.input or not graph.output:
        return None
    first, last = graph.input[0], graph.output[0]
    lengths = [_last_length(value) for value in (first, last)]
    if lengths[0] is None or lengths[1] is None:
        return None
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get("", 0) < 9 or any(a.HasField("g") for n in graph.node for a in n.attribute):
        return None
    rng = np.random.default_rng(0)
    for node in graph.node:
        node.input[:] = ["before_" + x if x == first.name else x for x in node.input]
        node.output[:] = ["behind_" + x if x == last.name else x for x in node.output]
    for side, length in zip(("before", "behind"), lengths, strict=True):
        values = rng.normal(0, length**-0.5, (length, length)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values, f"layer_{side}"))
    names = [first.name, "layer_before"], ["behind_" + last.name, "layer_behind"]
    graph.node.insert(0, onnx.helper.make_node("MatMul", names[0], ["before_" + first.name]))
    graph.node.append(onnx.helper.make_node("MatMul", names[1], [last.name]))
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _last_length(value: onnx.ValueInfoProto) -> int | None:
    """Length of the last axis of a float tensor with at least two axes."""
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(dims) < 2 or dims[-1].dim_value < 2:
        return None
    return int(dims[-1].dim_value)
