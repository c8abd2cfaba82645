"""Vertices in words for a picture: "Conv 3x3 /2", fused pieces by what they compute."""

from collections.abc import Sequence
from itertools import groupby

from graph_analysis.segments import Piece, Segment
from graph_analysis.trace_graph import MOVES_ONLY, TraceGraph, Vertex

_MOVING = MOVES_ONLY | {"CastLike", "Constant", "ConstantOfShape", "Pad", "Shape"}
_SHORT = {
    "BatchNormalization": "BatchNorm",
    "GlobalAveragePool": "GlobalAvgPool",
    "GroupNormalization": "GroupNorm",
    "InstanceNormalization": "InstanceNorm",
    "LayerNormalization": "LayerNorm",
    "RMSNormalization": "RMSNorm",
}
# a fused piece is called by the first of these that is in it
_FUSED = (
    ("Erf", "Gelu"),
    ("Sqrt", "Norm"),
    ("HardSigmoid", "HardSwish"),
    ("Sigmoid", "Silu"),
    ("Softplus", "Mish"),
    ("Tanh", "Gelu"),
    ("Softmax", "Softmax"),
)


def joint_name(piece: Piece) -> str:
    """A joint in one word."""
    return _SHORT.get(piece.members[-1].op_type, piece.members[-1].op_type)


def segment_steps(graph: TraceGraph, segment: Segment) -> tuple[str, ...]:
    """The operators of a segment in order; what only moves data is left out if there is more."""
    names = [(_piece_name(graph, p), p.members[0].op_type in _MOVING) for p in segment.pieces]
    telling = [name for name, moves in names if not moves] or [name for name, _ in names]
    return tuple(
        name if count == 1 else f"{count} {name}"
        for name, same in groupby(telling)
        for count in [len(list(same))]
    )


def _piece_name(graph: TraceGraph, piece: Piece) -> str:
    if len(piece.members) == 1:
        return _vertex_name(graph, piece.members[0])
    inside = {member.op_type for member in piece.members}
    return next(
        (name for op_type, name in _FUSED if op_type in inside),
        f"{piece.members[0].op_type}..{piece.members[-1].op_type}",
    )


def _vertex_name(graph: TraceGraph, vertex: Vertex) -> str:
    name = _SHORT.get(vertex.op_type, vertex.op_type)
    if vertex.op_type not in ("Conv", "ConvTranspose") or len(vertex.inputs) < 2:
        return name
    kernel = (graph.shape(vertex.inputs[1]) or ())[2:]
    if kernel:
        name += " " + "x".join(map(str, kernel))
    strides: Sequence[int] = vertex.attributes.get("strides", ())
    if any(stride > 1 for stride in strides):
        name += f" /{max(strides)}"
    return name + (" grouped" if vertex.attributes.get("group", 1) > 1 else "")
