"""Pooling and resizing: channels pass, the axes that are pooled or resized stay."""

from graph_analysis.labels import Axes, Labelling
from graph_analysis.trace_graph import Vertex


def pool(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Pools: batch and channel axes pass."""
    x = labelling.of(vertex.inputs[0])
    for axis in x[2:]:
        labelling.freeze(axis, f"{vertex.name!r} pools over it")
    return [[x[0], x[1], *[None] * (len(x) - 2)] for _ in vertex.outputs]


def resize(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Resize, Upsample: axes of unchanged length pass."""
    x = labelling.of(vertex.inputs[0])
    before = labelling.graph.shape(vertex.inputs[0]) or ()
    after = labelling.graph.shape(vertex.outputs[0]) or ()
    out: Axes = []
    for labels, old, new in zip(x, before, after, strict=True):
        if old != new:
            labelling.freeze(labels, f"{vertex.name!r} resizes it")
        out.append(labels if old == new else None)
    return [out]


RULES = {
    **dict.fromkeys(
        ["AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"],
        pool,
    ),
    "Resize": resize,
    "Upsample": resize,
}
