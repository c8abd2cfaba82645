"""Axes that merge a free batch with prunable positions: (batch times heads, tokens, size).

Under the analysis binding the batch is 1, so such an axis carries the labels of one sample; at any
other batch size it is that many copies, one after another. ``Labelling.tiled`` names these axes.
"""

from collections.abc import Sequence

import numpy as np

from graph_analysis.labels import Axis, Labelling
from graph_analysis.rules.elementwise import BINARY, UNARY
from graph_analysis.trace_graph import TraceGraph, Vertex

_BY_SAMPLE = frozenset(
    {
        *UNARY,
        *BINARY,
        "Einsum",
        "FusedMatMul",
        "LayerNormalization",
        "MatMul",
        "Softmax",
        "Transpose",
    }
)


def may_carry(labelling: Labelling, vertex: Vertex, axis: Axis) -> bool:
    """Whether an output axis of free length carries copies of labels that an input axis has."""
    if vertex.op_type not in _BY_SAMPLE or axis is None:
        return False
    return any(
        labels is not None and (name, place) in labelling.tiled and np.array_equal(labels, axis)
        for name in vertex.inputs
        if name
        for place, labels in enumerate(labelling.of(name))
    )


def merges_batch(
    labelling: Labelling,
    vertex: Vertex,
    source: str,
    target: str,
    old: Sequence[int],
    new: Sequence[int],
) -> bool:
    """Whether a block of a reshape with free axes does to each sample what it does to one.

    The batch must come first on both sides, and nothing else may be of free length. In the shape
    that a Reshape is told, the merged length must be -1, or free to become it.
    """
    graph = labelling.graph
    x = labelling.of(source)
    labelled = {axis for axis in old if x[axis] is not None}
    if not _comes_first(graph, source, old, labelled):
        return False
    after = graph.shape(target) or ()
    merged = {axis for axis in new if after[axis] > 1}
    if not _comes_first(graph, target, new, merged):
        return False
    told = merged & graph.free.get(target, frozenset())
    if not told or vertex.op_type != "Reshape":
        return not told
    wanted = graph.constant(vertex.inputs[1])
    if wanted is None:
        return False
    computed = np.flatnonzero(wanted == -1).tolist()
    return len(told) == 1 and (not computed or computed == list(told))


def _comes_first(graph: TraceGraph, name: str, axes: Sequence[int], merged: set[int]) -> bool:
    """Free axes lead; but for those of length 1, there is at most one, and it is ``merged``."""
    shape, free = graph.shape(name) or (), graph.free.get(name, frozenset())
    leading = True
    for axis in axes:
        if axis in free:
            if not leading or (shape[axis] > 1 and axis not in merged):
                return False
            leading = shape[axis] == 1
        elif shape[axis] > 1:
            leading = False
    return True
