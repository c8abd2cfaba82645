"""Pooling, resizing, sampling: channels pass, the axes that are worked along stay."""

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


def sampled(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """GridSample, RoiAlign, MaxRoiPool: channels pass, places to look at come from elsewhere."""
    x = labelling.of(vertex.inputs[0])
    reason = f"{vertex.name!r} samples it at places known at run time"
    by_region = vertex.op_type != "GridSample"  # a sample for every region, whatever its image
    for axis in (*x[2:], *(x[:1] if by_region else [])):
        labelling.freeze(axis, reason)
    for name in vertex.inputs[1:]:
        if name:
            labelling.freeze_all(name, reason)
    return [[None if by_region else x[0], x[1], *[None] * (len(x) - 2)]]


RULES = {
    **dict.fromkeys(
        ["AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"],
        pool,
    ),
    "GridSample": sampled,
    "MaxRoiPool": sampled,
    "Resize": resize,
    "RoiAlign": sampled,
    "Upsample": resize,
}
