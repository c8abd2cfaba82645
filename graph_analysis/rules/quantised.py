"""QuantizeLinear, DequantizeLinear: labels pass, scales and zero points go with their axis.

A quantised weight counts as a weight. Its slice can be set to 0 where the zero point is 0; else a
unit is silenced by the scale of its own axis, and along any other axis it stays.
"""

import numpy as np
from onnx import numpy_helper

from graph_analysis.labels import Axes, Labelling
from graph_analysis.trace_graph import TraceGraph, Vertex


def quantize(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QuantizeLinear: divides by the scale, which therefore is cut but never set to 0."""
    x = labelling.of(vertex.inputs[0])
    labelling.unzeroable.add(vertex.inputs[1])
    _with_axis(labelling, vertex, x)
    return [list(x)]


def dequantize(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """DequantizeLinear: (value - zero point) times scale."""
    name = vertex.inputs[0]
    x = labelling.of_integers(name)
    axis = _with_axis(labelling, vertex, x)
    if name in labelling.graph.initializers and not has_zero_at_zero(labelling.graph, vertex):
        labelling.unzeroable.add(name)
        for place, labels in enumerate(x):
            if place != axis:
                reason = f"{vertex.name!r} has a zero point other than 0: no value of it means 0"
                labelling.freeze(labels, reason)
    return [list(x)]


def has_zero_at_zero(graph: TraceGraph, vertex: Vertex) -> bool:
    """Whether the stored value 0 means 0: no zero point, or one of zeros."""
    return is_zero_point_zero(graph, vertex.inputs[2] if len(vertex.inputs) > 2 else "")


def is_zero_point_zero(graph: TraceGraph, name: str) -> bool:
    """Whether a zero point is left out or holds nothing but 0."""
    if not name:
        return True
    tensor = graph.initializers.get(name)
    return tensor is not None and not np.any(numpy_helper.to_array(tensor).astype(np.float64))


def is_round_trip(graph: TraceGraph, vertex: Vertex) -> bool:
    """Whether a DequantizeLinear undoes a QuantizeLinear: same zero point, so 0 stays 0."""
    index = graph.producer.get(vertex.inputs[0])
    if index is None or graph.vertices[index].op_type != "QuantizeLinear":
        return False
    points = [(*v.inputs, "", "")[2] for v in (graph.vertices[index], vertex)]
    if points[0] == points[1]:
        return True
    values = [graph.constant(name) for name in points]
    known = [value for value in values if value is not None]
    return len(known) == 2 and np.array_equal(known[0], known[1])


def _with_axis(labelling: Labelling, vertex: Vertex, x: Axes) -> int | None:
    """Tie scale and zero point to their axis, if they have one; returns it."""
    graph = labelling.graph
    axis = vertex.attributes.get("axis", 1)
    found = None
    for name in vertex.inputs[1:]:
        shape = graph.shape(name) or () if name else ()
        if name == vertex.inputs[1] or name not in graph.initializers:
            own = labelling.of(name)
        else:
            own = labelling.of_integers(name)
            labelling.integers.discard(name)  # a zero point is no weight
            labelling.unzeroable.add(name)
        if len(shape) == 1 and shape[0] > 1:
            found = axis % len(x)
            labelling.tie(own[0], x[found], f"{vertex.name!r}: its positions stay")
        elif len(shape) > 1:
            for labels in (*own, *x):
                labelling.freeze(labels, f"{vertex.name!r} quantises it in blocks")
    return found


RULES = {"DequantizeLinear": dequantize, "QuantizeLinear": quantize}
