"""Multiply-accumulates, parameters and bytes, before and after any solution, without building it.

A vertex that contracts costs a constant times the number of kept positions along some axes; an
initializer holds the product of its kept axes. So the cost of what remains is a count of labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import onnx

from graph_analysis.labels import Classes, Labelling
from graph_analysis.multiplications import Product, product_of, vertex_macs
from graph_analysis.settings import is_setting, only_settings
from graph_analysis.trace_graph import FLOATS, STATE_SLOTS, TraceGraph, Vertex

# of indices and lengths, which a cut writes anew or drops; and of some quantised weights
_ADDRESSING = frozenset({onnx.TensorProto.BOOL, onnx.TensorProto.INT32, onnx.TensorProto.INT64})
_ARITHMETIC = frozenset({"Add", "Div", "Max", "Min", "Mod", "Mul", "Pow", "Sub"})
# first input slot that holds statistics or tables instead of weights, besides ``settings``
_NO_WEIGHTS_FROM = {
    "BatchNormalization": 3,
    "DequantizeLinear": 1,
    "GroupQueryAttention": 5,
    "QuantizeLinear": 1,
    "RotaryEmbedding": 1,
}


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Costs by owner: vertex index -> MACs, initializer -> elements; and what an element weighs.

    A vertex that multiplies several times (attention) costs the sum of its products. Indices,
    lengths, lone numbers and initial states of zeros weigh nothing: a cut may write others, or
    need none.
    """

    macs: Mapping[int, tuple[Product, ...]]
    elements: Mapping[str, Product]
    item_bytes: Mapping[str, int]
    parameters: frozenset[str]  # no scalars, running statistics, settings, indices


def cost_model(graph: TraceGraph, labelling: Labelling, classes: Classes) -> CostModel:
    """Costs of every vertex and initializer of a labelled graph, per sample.

    What a vertex multiplies is the business of ``multiplications``. Both branches of an If
    count, the body of a Loop or Scan as often as it is known to run, else once. What an initial
    state of zeros is made from is no weight, nor is a number that only meets lengths of tensors,
    nor are the parts that settings are put together from (Resize scales behind a Concat).
    """
    settings = {
        name
        for vertex in graph.vertices
        for slot, name in enumerate(vertex.inputs)
        if slot >= _NO_WEIGHTS_FROM.get(vertex.op_type, slot + 1)
        or (vertex.is_standard and is_setting(vertex.op_type, slot))
    }
    light = {name for name in graph.zeros if _makes_zeros_only(graph, name)}
    light |= {name for name in graph.initializers if _is_arithmetic(graph, name)}
    settings |= light
    settings |= only_settings(graph.operations, graph.inputs, graph.outputs, _NO_WEIGHTS_FROM)
    elements, sizes, parameters = {}, {}, set()
    for name, tensor in graph.initializers.items():
        axes = labelling.axes.get(name, [None] * len(tensor.dims))
        elements[name] = product_of(1, tensor.dims, axes, classes)
        addresses = tensor.data_type in _ADDRESSING and name not in labelling.integers
        weighs = not addresses and name not in light and len(tensor.dims) > 0
        sizes[name] = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * weighs
        is_weight = tensor.data_type in FLOATS or name in labelling.integers
        if is_weight and len(tensor.dims) > 0 and name not in settings:
            parameters.add(name)
    macs = {}
    for vertex in graph.vertices:
        products = vertex_macs(graph, labelling, classes, vertex)
        if products:
            macs[vertex.index] = _repeated(products, graph, vertex)
    return CostModel(
        macs=macs, elements=elements, item_bytes=sizes, parameters=frozenset(parameters)
    )


def _repeated(
    products: tuple[Product, ...], graph: TraceGraph, vertex: Vertex
) -> tuple[Product, ...]:
    times = 1
    for owner in graph.owners.get(vertex.name, ()):
        times *= graph.shapes.trips.get(owner, 1)
    if times == 1:
        return products
    return tuple(replace(product, factor=product.factor * times) for product in products)


def _is_arithmetic(graph: TraceGraph, name: str) -> bool:
    """Whether all that reads a number computes with shapes: known, yet not from weights.

    A table of more than one number is a weight, also where lengths choose from it (positions), and
    so is what is only moved (an initial state that is spread over the samples).
    """
    users = {graph.vertices[index].op_type for index, _ in graph.consumers.get(name, ())}
    if prod(graph.initializers[name].dims) > 1 or not users <= _ARITHMETIC:
        return False
    made = [
        output
        for index, _ in graph.consumers.get(name, ())
        for output in graph.vertices[index].outputs
        if output
    ]
    known = (graph.constant(output) is not None and output not in graph.weights for output in made)
    return bool(made) and all(known)


def _makes_zeros_only(graph: TraceGraph, name: str) -> bool:
    """Whether an initializer of zeros is nothing but an initial state, or what makes one."""
    pending, seen = [name], {name}
    while pending:
        made = pending.pop()
        if made in graph.outputs or made not in graph.zeros:
            return False
        for index, slot in graph.consumers.get(made, ()):
            vertex = graph.vertices[index]
            if slot not in STATE_SLOTS.get(vertex.op_type, ()):
                more = {out for out in vertex.outputs if out} - seen
                seen |= more
                pending.extend(more)
    return True
