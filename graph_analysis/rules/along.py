"""Operators that work along an axis or two, which stay; every other axis passes.

What they make of a position depends on its neighbours: sorted, summed up to it, cut to a triangle.
"""

from collections.abc import Sequence

import numpy as np

from graph_analysis.labels import Axes, Labelling
from graph_analysis.trace_graph import Vertex


def top_k(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """TopK: values, and where they were."""
    return _along(labelling, vertex, [vertex.attributes.get("axis", -1)])


def running_sum(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """CumSum: the axis is an input; if it is not known, all stay."""
    value = labelling.graph.constant(vertex.inputs[1])
    rank = len(labelling.of(vertex.inputs[0]))
    axes = range(rank) if value is None else [int(np.ravel(value)[0])]
    return _along(labelling, vertex, axes)


def triangle(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Trilu: of matrices on the last two axes."""
    return _along(labelling, vertex, [-2, -1])


def _along(labelling: Labelling, vertex: Vertex, axes: Sequence[int]) -> list[Axes]:
    x = list(labelling.of(vertex.inputs[0]))
    for axis in axes:
        labelling.freeze(x[axis], f"{vertex.name!r} works along it")
        x[axis] = None
    return [list(x) for _ in vertex.outputs]


RULES = {
    "CumSum": running_sum,
    "TopK": top_k,
    "Trilu": triangle,
}
