"""Removal structures: segments that can be erased whole, proved neutral where they end.

The paper's rule (a segment with trainable variables whose last vertex feeds joints only), made
exact: zeroing the structure must silence it at every joint it feeds, and the joint must survive.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from graph_analysis.costs import CostModel
from graph_analysis.labels import Classes, Labelling
from graph_analysis.node_groups import with_masks
from graph_analysis.places import Places
from graph_analysis.rules.quantised import is_round_trip
from graph_analysis.rules.recurrent import is_silent_without_weights
from graph_analysis.search_space import Group, GroupKind, WeightSlices
from graph_analysis.segments import Piece, Segment, SegmentGraph
from graph_analysis.trace_graph import TraceGraph
from graph_analysis.zeroes import KEEPS_ZERO, activation_keeps_zero, clip_keeps_zero, pads_with_zero

_FUSED = frozenset({"FusedConv", "FusedGemm"})
_STEMS = _FUSED | {"Conv", "ConvTranspose", "Einsum", "FusedMatMul", "Gemm", "MatMul"}
_PRODUCTS = frozenset({"Einsum", "FusedMatMul", "MatMul"})
_AFFINE = frozenset(
    {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"}
)
_KEEPS_ZERO = (KEEPS_ZERO | {"Div", "Mul", "Resize", "Upsample"}) - {"Gather"}


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A removal structure: its group, vertices, and the classes that go with it at Concats."""

    group: Group
    vertices: frozenset[int]
    classes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A segment that meets the paper's rule but is not exact to erase, and why."""

    segment: str
    reason: str


def removal_structures(
    graph: TraceGraph,
    segments: SegmentGraph,
    labelling: Labelling,
    classes: Classes,
    costs: CostModel,
    *,
    places: Places,
    masked: Places,
    protect: Collection[str],
) -> tuple[list[Structure], list[Refused]]:
    """All removal structures of a graph, and the candidates refused with their reasons."""
    found, refused = [], []
    for segment in segments.segments:
        weights = _weights(graph, segment, costs)
        joints = [segments.by_id[name] for name in segment.outputs]
        if segment.joint or not weights or not joints or not all(j.joint for j in joints):
            continue
        reason = _protected(segment, weights, protect) or _shared(graph, segment, weights)
        reason = reason or _stuck(labelling, weights) or _tail(graph, segment)
        gone: list[int] = []
        for joint in joints:
            reason = reason or _joint(graph, segment, joint, labelling, classes, places, gone)
        if reason:
            refused.append(Refused(segment=segment.id, reason=reason))
            continue
        found.append(_structure(graph, segment, weights, labelling, costs, places, masked, gone))
    return found, refused


def _weights(graph: TraceGraph, segment: Segment, costs: CostModel) -> list[str]:
    stack = [n for p in segment.pieces for m in p.members for n in m.inputs]
    found: dict[str, None] = {}
    while stack:
        name = stack.pop()
        if name in costs.parameters:
            found[name] = None
        elif name in graph.weights and name in graph.producer:
            stack.extend(graph.vertices[graph.producer[name]].inputs)
    return list(found)


def _protected(segment: Segment, weights: Sequence[str], protect: Collection[str]) -> str | None:
    names = {m.name for p in segment.pieces for m in p.members} | set(weights)
    for pattern in protect:
        if any(fnmatchcase(name, pattern) for name in names):
            return f"protected by {pattern!r}"
    return None


def _shared(graph: TraceGraph, segment: Segment, weights: Sequence[str]) -> str | None:
    inside = {m.index for p in segment.pieces for m in p.members}
    for name in weights:
        users = {index for index, _ in graph.consumers[name]}
        outside = {i for i in users - inside if graph.vertices[i].outputs[0] not in graph.weights}
        if outside:
            return f"shares weight {name!r} with {graph.vertices[min(outside)].name!r}"
    return None


def _stuck(labelling: Labelling, weights: Sequence[str]) -> str | None:
    for name in weights:
        if name in labelling.integers and name in labelling.unzeroable:
            return f"no value of quantised weight {name!r} means 0"
    return None


def _tail(graph: TraceGraph, segment: Segment) -> str | None:
    """Why the segment's output is not zero once its weights are; None when it is."""
    made = {name for p in segment.pieces for m in p.members for name in m.outputs}
    if made.intersection(graph.outputs):
        return "a graph output lies in it"
    zero = False
    for piece in segment.pieces:
        zero = _silences(graph, piece) or (zero and _keeps_zero(graph, piece))
    return None if zero else "its output is not zero when its weights are"


def _silences(graph: TraceGraph, piece: Piece) -> bool:
    vertex = piece.members[-1]
    if len(piece.members) > 1:
        return False
    if vertex.op_type in _PRODUCTS:
        return any(name in graph.weights for name in vertex.inputs)
    if vertex.op_type in _FUSED and not activation_keeps_zero(vertex):
        return False
    if vertex.op_type in _STEMS:
        return all(n in graph.weights for n in vertex.inputs[1:] if n)
    if is_silent_without_weights(graph, vertex):
        return True
    return vertex.op_type in _AFFINE and len(vertex.inputs) > 2


def _keeps_zero(graph: TraceGraph, piece: Piece) -> bool:
    if len(piece.members) > 1:
        return _region_keeps_zero(piece)
    vertex = piece.members[0]
    if vertex.op_type == "Clip":
        return clip_keeps_zero(graph, vertex)
    if vertex.op_type in ("DequantizeLinear", "QuantizeLinear"):
        return vertex.op_type == "QuantizeLinear" or is_round_trip(graph, vertex)
    if vertex.op_type == "Pad":
        return pads_with_zero(graph, vertex)
    if vertex.op_type in (
        "Add",
        "BiasGelu",
        "FastGelu",
        "Sub",
    ):  # a weight: zeroed with the rest; a scalar is not
        return all(np.prod(graph.shape(n) or (1,)) > 1 for n in vertex.inputs if n in graph.weights)
    if vertex.op_type == "Div" and vertex.inputs[0] not in piece.inputs:
        return False
    return vertex.op_type in _KEEPS_ZERO


def _region_keeps_zero(piece: Piece) -> bool:
    """Known products of an activation with its own gate, like SiLU, map 0 to 0."""
    last = piece.members[-1]
    if last.op_type == "Mul":
        if piece.inputs[0] in last.inputs:
            return True
        # scaled forms: GELU is 0.5 * (x * (1 + erf)), its product lies one step earlier
        return any(
            m.op_type == "Mul" and piece.inputs[0] in m.inputs and _feeds(m.outputs[0], last)
            for m in piece.members
        )
    if last.op_type == "Div":
        return any(
            m.op_type == "Mul" and piece.inputs[0] in m.inputs and m.outputs[0] == last.inputs[0]
            for m in piece.members
        )
    return False


def _feeds(name: str, vertex: object) -> bool:
    return name in getattr(vertex, "inputs", ())


def _joint(
    graph: TraceGraph,
    segment: Segment,
    joint: Segment,
    labelling: Labelling,
    classes: Classes,
    places: Places,
    gone: list[int],
) -> str | None:
    vertex = joint.pieces[0].members[0]
    tensor = segment.pieces[-1].output
    if len(joint.pieces[0].members) > 1 or vertex.op_type not in ("Add", "Sum", "Sub", "Concat"):
        return f"feeds {vertex.op_type} {vertex.name!r}, where zero is not neutral"
    if vertex.inputs.count(tensor) > 1:
        return f"is both inputs of {vertex.name!r}"
    if vertex.op_type == "Concat":
        return _concat(segment, vertex.attributes["axis"], tensor, labelling, classes, places, gone)
    if vertex.op_type == "Sub" and vertex.inputs[0] == tensor:
        return f"is the left side of {vertex.name!r}"
    shape = graph.shape(vertex.outputs[0])
    others = [graph.shape(name) for name in vertex.inputs if name != tensor]
    if shape is None or any(other != shape for other in others):
        return f"gives {vertex.name!r} its shape"
    if any(name in graph.weights for name in vertex.inputs if name != tensor):
        return f"meets a constant at {vertex.name!r}"
    return None


def _concat(
    segment: Segment,
    axis: int,
    tensor: str,
    labelling: Labelling,
    classes: Classes,
    places: Places,
    gone: list[int],
) -> str | None:
    labels = labelling.axes.get(tensor, [])
    found = classes.of(labels[axis % len(labels)]) if labels else None
    if found is None or (found < 0).any():
        return "the positions it would leave in a Concat must stay"
    inside = {m.index for p in segment.pieces for m in p.members}
    wanted = set(found.tolist())
    crossings = classes.crossings
    crossed = np.concatenate([crossings.crossing, crossings.rows, crossings.columns])
    if wanted & set(crossed.tolist()):
        return "the positions it would leave in a Concat are crossed with others"
    for (name, place, _), _ in places.of(found):
        if not labelling.born.get((name, place), inside) <= inside:
            return "its channels are also made elsewhere"
    gone.extend(sorted(wanted - set(gone)))
    return None


def _is_zeroable(graph: TraceGraph, name: str) -> bool:
    """Not a lone number beside the weights (an epsilon, a factor of a decomposed activation)."""
    if np.prod(graph.initializers[name].dims) > 1:
        return True
    users = (graph.vertices[index].op_type for index, _ in graph.consumers[name])
    return any(user in _STEMS or user in _AFFINE for user in users)


def _structure(
    graph: TraceGraph,
    segment: Segment,
    weights: Sequence[str],
    labelling: Labelling,
    costs: CostModel,
    places: Places,
    masked: Places,
    gone: Sequence[int],
) -> Structure:
    vertices = frozenset(m.index for p in segment.pieces for m in p.members)
    zero = [
        WeightSlices(
            initializer=name, axis=0, unit_indices=(tuple(range(graph.initializers[name].dims[0])),)
        )
        for name in weights
        if name not in labelling.unzeroable and _is_zeroable(graph, name)
    ]
    cut: list[WeightSlices] = []
    for (name, axis, _), where in places.of(np.asarray(gone, np.int64)):
        if name in weights:
            continue
        slices = WeightSlices(initializer=name, axis=axis, unit_indices=(where,))
        cut.append(slices)
        if name not in labelling.unzeroable and name in costs.parameters:
            zero.append(slices)
    first = segment.pieces[0].members[0].name
    group = Group(
        id=f"operator:{first}",
        kind=GroupKind.OPERATOR,
        units=1,
        zero=tuple(zero),
        cut=tuple(cut),
        nodes=tuple(graph.vertices[index].name for index in sorted(vertices)),
    )
    if gone:
        group = with_masks(group, gone, masked)
    return Structure(group=group, vertices=vertices, classes=tuple(gone))
