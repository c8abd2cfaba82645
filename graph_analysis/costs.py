"""Multiply-accumulates, parameters and bytes, before and after any solution, without building it.

A vertex that contracts costs a constant times the number of kept positions along some axes; an
initializer holds the product of its kept axes. So the cost of what remains is a count of labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from graph_analysis.labels import Axis, Classes, Labelling
from graph_analysis.rules.recurrent import GATES
from graph_analysis.trace_graph import FLOATS, STATE_SLOTS, TraceGraph, Vertex

# first input slot that holds statistics or settings instead of weights
_SETTINGS_FROM = {"BatchNormalization": 3, "Resize": 1, "Upsample": 1, "Clip": 1, "Pad": 1}
ClassAxis = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Product:
    """``factor`` times the number of kept positions along each of ``axes``."""

    factor: int
    axes: tuple[ClassAxis, ...]

    def count(self, gone: npt.NDArray[np.bool_]) -> int:
        """The product when classes marked in ``gone`` (by class label) are removed."""
        total = self.factor
        for axis in self.axes:
            total *= int(axis.size - gone[axis[axis >= 0]].sum())
        return total


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Costs by owner: vertex index -> MACs, initializer -> elements; and what an element weighs."""

    macs: Mapping[int, tuple[Product, ...]]  # their sum
    elements: Mapping[str, Product]
    item_bytes: Mapping[str, int]
    parameters: frozenset[str]  # float weights; no scalars, running statistics, integers


def cost_model(graph: TraceGraph, labelling: Labelling, classes: Classes) -> CostModel:
    """Costs of every vertex and initializer of a labelled graph, per sample.

    Conv: output positions x kernel x W.shape[0] x W.shape[1]. ConvTranspose: input positions the
    same way. Gemm, MatMul: output elements x contracted length. LSTM, GRU, RNN: steps x elements of
    W and of R. Everything else counts 0. What an initial state of zeros is made from is no weight.
    """
    settings = {
        name
        for vertex in graph.vertices
        for name in vertex.inputs[_SETTINGS_FROM.get(vertex.op_type, len(vertex.inputs)) :]
    }
    settings |= {name for name in graph.zeros if _makes_zeros_only(graph, name)}
    elements, sizes, parameters = {}, {}, set()
    for name, tensor in graph.initializers.items():
        axes = labelling.axes.get(name, [None] * len(tensor.dims))
        elements[name] = _product(1, tensor.dims, axes, classes)
        sizes[name] = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if tensor.data_type in FLOATS and len(tensor.dims) > 0 and name not in settings:
            parameters.add(name)
    macs = {}
    for vertex in graph.vertices:
        products = _vertex_macs(graph, labelling, classes, vertex)
        if products:
            macs[vertex.index] = products
    return CostModel(
        macs=macs, elements=elements, item_bytes=sizes, parameters=frozenset(parameters)
    )


def _makes_zeros_only(graph: TraceGraph, name: str) -> bool:
    """Whether an initializer of zeros is nothing but an initial state, or what makes one."""
    for index, slot in graph.consumers.get(name, ()):
        vertex = graph.vertices[index]
        is_state = slot in STATE_SLOTS.get(vertex.op_type, ())
        if not is_state and not all(_makes_zeros_only(graph, out) for out in vertex.outputs if out):
            return False
    return name not in graph.outputs and name in graph.zeros


def _product(factor: int, shape: npt.ArrayLike, axes: list[Axis], classes: Classes) -> Product:
    kept = []
    for length, axis in zip(np.atleast_1d(shape).tolist(), axes, strict=False):
        found = classes.of(axis)
        if found is None:
            factor *= int(length)
        else:
            kept.append(found)
    return Product(factor=factor, axes=tuple(kept))


def _vertex_macs(
    graph: TraceGraph, labelling: Labelling, classes: Classes, vertex: Vertex
) -> tuple[Product, ...]:
    if not vertex.is_standard or len(vertex.inputs) < 2:
        return ()
    names = (vertex.inputs[0], vertex.inputs[1], vertex.outputs[0])
    shapes = [graph.shape(name) for name in names]
    if any(shape is None for shape in shapes):
        return ()
    x, weight, out = (shape or () for shape in shapes)
    if vertex.op_type in ("Conv", "ConvTranspose"):
        positions = out if vertex.op_type == "Conv" else x
        factor = int(np.prod(weight[2:])) * int(np.prod(positions[2:])) * positions[0]
        return (_product(factor, weight[:2], labelling.of(vertex.inputs[1])[:2], classes),)
    if vertex.op_type == "Gemm":
        turned = vertex.attributes.get("transA", 0)
        axes = [labelling.of(names[0])[0 if turned else 1], *labelling.of(names[2])]
        return (_product(1, [x[0 if turned else 1], *out], axes, classes),)
    if vertex.op_type == "MatMul":
        axes = [labelling.of(names[0])[-1], *labelling.of(names[2])]
        return (_product(1, [x[-1], *out], axes, classes),)
    if vertex.op_type in GATES:
        return tuple(
            _product(x[0] * x[1], graph.shape(name) or (), labelling.of(name), classes)
            for name in vertex.inputs[1:3]
        )
    return ()
