"""Operators with statistics over axes: what goes from such an axis is masked, or must stay."""

import numpy as np

from graph_analysis.labels import Axes, Labelling
from graph_analysis.masking import FORMS
from graph_analysis.trace_graph import Vertex

REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "ArgMax",
    "ArgMin",
]

_BLIND_TO_ZERO = frozenset({"ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare"})


def batch_norm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """BatchNormalization, InstanceNormalization: all per channel; statistics are not zeroed."""
    x = labelling.of(vertex.inputs[0])
    channels = x[1]
    if vertex.op_type == "InstanceNormalization" and channels is not None:
        # GroupNorm written out: the groups of its reshape are no heads
        labelling.heads = [h for h in labelling.heads if not np.array_equal(h, channels)]
    if vertex.op_type == "InstanceNormalization":
        _freeze_positions(labelling, vertex, x[2:])
    elif vertex.attributes.get("training_mode"):
        _freeze_positions(labelling, vertex, [x[0], *x[2:]])
    for slot, name in enumerate(vertex.inputs[1:], 1):
        labelling.tie(labelling.of(name)[0], x[1], f"{vertex.name!r}: its channels stay")
        if slot > 2:
            labelling.unzeroable.add(name)
    outputs: list[Axes] = [list(x)]
    outputs += [[x[1]] if len(vertex.inputs) > 3 else [None] for _ in vertex.outputs[1:]]
    return outputs


def _freeze_positions(labelling: Labelling, vertex: Vertex, axes: Axes) -> None:
    """Axes that the statistics of a channel are taken over."""
    for axis in axes:
        labelling.freeze(axis, f"{vertex.name!r} normalises over it")


def layer_norm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """LayerNormalization, RMSNormalization: the normalised axes are masked; scale and bias follow.

    Further outputs (mean, inverse deviation) have these axes with length 1.
    """
    x = list(labelling.of(vertex.inputs[0]))
    start = vertex.attributes.get("axis", -1) % len(x)
    reason = f"{vertex.name!r} normalises over it"
    for place in range(start, len(x)):
        labelling.mask(vertex, place, reason)
    for name in vertex.inputs[1:]:
        axes = labelling.of(name) if name else []
        for place, labels in enumerate(axes, len(x) - len(axes)):
            if labels is not None:
                labelling.tie(labels, x[place], f"{vertex.name!r}: what it normalises over stays")
    kept = [*x[:start], *[None] * (len(x) - start)]
    return [x, *(list(kept) for _ in vertex.outputs[1:])]


def group_norm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """GroupNormalization: whole norm groups go; scale and bias per group before opset 21."""
    x = labelling.of(vertex.inputs[0])
    groups = vertex.attributes["num_groups"]
    _freeze_positions(labelling, vertex, x[2:])
    if x[1] is not None:
        labelling.tie_all(x[1].reshape(groups, -1))
    for name in vertex.inputs[1:]:
        axis = labelling.of(name)[0]
        per_group = (labelling.graph.shape(name) or (0,))[0] == groups
        channel = x[1]
        if per_group and channel is not None:
            channel = channel.reshape(groups, -1)[:, 0]
        labelling.tie(axis, channel, f"{vertex.name!r}: its channels stay")
    return [list(x)]


def softmax(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Softmax: the axis is masked, of its kin it stays; before opset 13 all axes from it on."""
    x = list(labelling.of(vertex.inputs[0]))
    old = labelling.graph.opset < 13
    axis = vertex.attributes.get("axis", 1 if old else -1) % len(x)
    for place in range(axis, len(x) if old else axis + 1):
        labelling.mask(vertex, place, f"{vertex.name!r} normalises over it")
        if vertex.op_type not in FORMS:
            x[place] = None
    return [x]


def lrn(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """LRN: neighbouring channels meet, so channels stay."""
    x = list(labelling.of(vertex.inputs[0]))
    labelling.freeze(x[1], f"{vertex.name!r} normalises over it")
    x[1] = None
    return [x]


def reduction(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Reductions: what is reduced over is masked, or stays; other axes pass.

    Sums and norms do not see a 0: where it is 0 once removed, nothing needs to be masked.
    """
    x = list(labelling.of(vertex.inputs[0]))
    axes = _axes(labelling, vertex, len(x))
    keep = vertex.attributes.get("keepdims", 1)
    out: Axes = []
    for place, labels in enumerate(x):
        if place in axes:
            reason = f"{vertex.name!r} reduces over it"
            if vertex.op_type in _BLIND_TO_ZERO:
                labelling.mask_unless_zero(vertex, place, reason)
            else:
                labelling.mask(vertex, place, reason)
            if keep:
                out.append(None)
        else:
            out.append(labels)
    return [out]


def lp_norm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """LpNormalization: a 0 adds nothing to the norm, so the axis may go where it is 0."""
    x = labelling.of(vertex.inputs[0])
    axis = vertex.attributes.get("axis", -1) % len(x)
    reason = f"{vertex.name!r} normalises over it"
    labelling.require_zero(x[axis], [vertex.inputs[0]], reason)
    return [list(x)]


def _axes(labelling: Labelling, vertex: Vertex, rank: int) -> set[int]:
    if vertex.op_type.startswith("Arg"):
        return {vertex.attributes.get("axis", 0) % rank}
    axes = vertex.attributes.get("axes")
    if axes is None and len(vertex.inputs) > 1 and vertex.inputs[1]:
        value = labelling.graph.constant(vertex.inputs[1])
        axes = list(range(rank)) if value is None else np.atleast_1d(value).tolist()
    if not axes:
        return set() if vertex.attributes.get("noop_with_empty_axes") else set(range(rank))
    return {axis % rank for axis in axes}


RULES = {
    "BatchNormalization": batch_norm,
    "InstanceNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": layer_norm,
    "SimplifiedLayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Hardmax": softmax,
    "LRN": lrn,
    "LpNormalization": lp_norm,
    **dict.fromkeys(REDUCTIONS, reduction),
}
