"""Operators that only move data: the movement itself is done to the arrays of labels."""

from collections.abc import Sequence

import numpy as np

from graph_analysis.coupling import FIXED, Labels
from graph_analysis.labels import Axes, Axis, Labelling
from graph_analysis.rules.reshaping import regroup
from graph_analysis.trace_graph import Vertex


def reshape(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Reshape, Flatten, Squeeze, Unsqueeze: row-major order stays, axes merge or split."""
    return [regroup(labelling, vertex, vertex.inputs[0], vertex.outputs[0])]


def transpose(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Transpose: axes permuted."""
    x = labelling.of(vertex.inputs[0])
    order = vertex.attributes.get("perm") or list(range(len(x)))[::-1]
    return [[x[axis] for axis in order]]


def concat(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Concat: positions follow each other along the axis, other axes go together."""
    graph = labelling.graph
    operands = [(labelling.of(name), graph.shape(name) or ()) for name in vertex.inputs]
    axis = vertex.attributes["axis"] % len(operands[0][1])
    out: Axes = []
    for place in range(len(operands[0][1])):
        if place == axis:
            parts = []
            for name, (axes, shape) in zip(vertex.inputs, operands, strict=True):
                edge, labels = (vertex.index, name), _filled(axes[place], shape[place])
                parts.append(labelling.gate(edge, labels) if edge in labelling.gated else labels)
            out.append(np.concatenate(parts))
            continue
        first = operands[0][0][place]
        for axes, _ in operands[1:]:
            labelling.tie(first, axes[place], f"{vertex.name!r} joins it with a fixed tensor")
        fixed = any(axes[place] is None for axes, _ in operands)
        out.append(None if fixed else first)
    return [out]


def _filled(axis: Axis, length: int) -> Labels:
    return np.full(length, FIXED, np.int64) if axis is None else axis


def split(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Split: each output takes its positions."""
    x = labelling.of(vertex.inputs[0])
    axis = vertex.attributes.get("axis", 0) % len(x)
    outputs, start = [], 0
    for name in vertex.outputs:
        length = (labelling.graph.shape(name) or ())[axis]
        axes = list(x)
        labels = x[axis]
        axes[axis] = None if labels is None else labels[start : start + length]
        outputs.append(axes)
        start += length
    return outputs


def slice_(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Slice with constant bounds; with computed ones the axes that change stay."""
    x = list(labelling.of(vertex.inputs[0]))
    before = labelling.graph.shape(vertex.inputs[0]) or ()
    after = labelling.graph.shape(vertex.outputs[0]) or ()
    bounds = [_bound(labelling, vertex, slot) for slot in ("starts", "ends", "axes", "steps")]
    if bounds[0] is None or bounds[1] is None:
        for axis, labels in enumerate(x):
            labelling.freeze(labels, f"{vertex.name!r} has computed bounds")
            x[axis] = None
        return [x]
    axes = bounds[2] if bounds[2] is not None else list(range(len(bounds[0])))
    steps = bounds[3] if bounds[3] is not None else [1] * len(axes)
    for start, end, axis, step in zip(bounds[0], bounds[1], axes, steps, strict=True):
        place = axis % len(x)
        labels = x[place]
        if labels is None or (step == 1 and before[place] == after[place]):
            continue
        stop = end if step > 0 or end >= -before[place] else None
        x[place] = labels[start:stop:step]
        if len(x[place]) != after[place]:  # type: ignore[arg-type]
            labelling.freeze(labels, f"{vertex.name!r} has unusual bounds")
            x[place] = None
    return [x]


def _bound(labelling: Labelling, vertex: Vertex, name: str) -> list[int] | None:
    if name in vertex.attributes:
        return list(vertex.attributes[name])
    slot = ("data", "starts", "ends", "axes", "steps").index(name)
    if len(vertex.inputs) <= slot or not vertex.inputs[slot]:
        return None
    value = labelling.graph.constant(vertex.inputs[slot])
    return None if value is None else np.atleast_1d(value).tolist()


def gather(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Gather: constant indices pick positions; data as indices freezes the axis (a vocabulary)."""
    x = labelling.of(vertex.inputs[0])
    axis = vertex.attributes.get("axis", 0) % len(x)
    indices = labelling.graph.constant(vertex.inputs[1])
    rank = len(labelling.graph.shape(vertex.inputs[1]) or ())
    labels = x[axis]
    middle: Axes = [None] * rank
    along = [] if indices is None else [n for n, length in enumerate(indices.shape) if length > 1]
    if labels is not None and indices is not None and (len(along) == 1 or indices.ndim == 1):
        middle[along[0] if along else 0] = labels[indices.ravel()]
    elif labels is not None:
        why = "picks by data" if indices is None else "picks single positions"
        labelling.freeze(labels, f"{vertex.name!r} {why}")
    return [[*x[:axis], *middle, *x[axis + 1 :]]]


def expand(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Expand: axes of unchanged length pass; copies of one position may be fewer.

    One constant number becomes a filled tensor.
    """
    if _is_one_number(labelling, vertex.inputs[0]):
        return filled(labelling, vertex)
    x = labelling.of(vertex.inputs[0])
    before = labelling.graph.shape(vertex.inputs[0]) or ()
    after = labelling.graph.shape(vertex.outputs[0]) or ()
    missing = len(after) - len(before)
    lead: Axes = [labelling.fresh(length) for length in after[:missing]]
    tail = after[missing:]
    return [
        lead
        + [
            labels if old == new else labelling.fresh(new)
            for labels, old, new in zip(x, before, tail, strict=True)
        ]
    ]


def _is_one_number(labelling: Labelling, name: str) -> bool:
    graph = labelling.graph
    return name in graph.weights and np.prod(graph.shape(name) or ()) == 1


def filled(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """ConstantOfShape and the like; what is no float takes part in shape arithmetic and stays."""
    name = vertex.outputs[0]
    if not labelling.graph.is_float(name):
        return fixed(labelling, vertex)
    return [labelling.filled(labelling.graph.shape(name) or ())]


def tile(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Tile: positions repeat; copies of one position may be fewer."""
    x = labelling.of(vertex.inputs[0])
    before = labelling.graph.shape(vertex.inputs[0]) or ()
    after = labelling.graph.shape(vertex.outputs[0]) or ()
    return [
        [
            labelling.fresh(new)
            if old == 1
            else None
            if labels is None
            else np.tile(labels, new // old)
            for labels, old, new in zip(x, before, after, strict=True)
        ]
    ]


def pad(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Pad: unpadded axes pass; padded positions along a labelled axis are fixed ones."""
    x = labelling.of(vertex.inputs[0])
    before = labelling.graph.shape(vertex.inputs[0]) or ()
    after = labelling.graph.shape(vertex.outputs[0]) or ()
    out: Axes = []
    for labels, old, new in zip(x, before, after, strict=True):
        if old != new:
            labelling.freeze(labels, f"{vertex.name!r} pads it")
        out.append(labels if old == new else None)
    return [out]


def depth_space(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """DepthToSpace, SpaceToDepth: a channel goes with its blocksize^2 positions."""
    x = labelling.of(vertex.inputs[0])
    size = vertex.attributes["blocksize"] ** 2
    channels = x[1]
    out: Axis = None
    if channels is not None and vertex.op_type == "DepthToSpace":
        crd = vertex.attributes.get("mode", b"DCR") in (b"CRD", "CRD")
        grid = channels.reshape(-1, size) if crd else channels.reshape(size, -1).T
        labelling.tie_all(grid)
        out = grid[:, 0]
    elif channels is not None:
        out = np.tile(channels, size)
    for axis in x[2:]:
        labelling.freeze(axis, f"{vertex.name!r} rearranges it")
    return [[x[0], out, None, None]]


def fixed(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Makers of new tensors: nothing of them may go, nothing of their inputs is touched."""
    shapes: list[Sequence[int]] = [labelling.graph.shape(name) or () for name in vertex.outputs]
    return [[None] * len(shape) for shape in shapes]


RULES = {
    "Reshape": reshape,
    "Flatten": reshape,
    "Squeeze": reshape,
    "Unsqueeze": reshape,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "DepthToSpace": depth_space,
    "SpaceToDepth": depth_space,
    "ConstantOfShape": filled,
    "Range": fixed,
    "Constant": fixed,
}
