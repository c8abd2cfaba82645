"""Operators that work position by position: unary ones pass labels, others tie operands."""

from collections.abc import Sequence

import numpy as np

from graph_analysis.labels import Axes, Axis, Labelling
from graph_analysis.trace_graph import Vertex

UNARY = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
BINARY = [
    "Add",
    "And",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
]
# operand -> what happens to it that must not be done with 0
_NOT_AT_ZERO = {
    ("Div", 1): "divides by it",
    ("Log", 0): "takes its logarithm",
    ("Reciprocal", 0): "divides by it",
}
_NOT_ZEROED = {("Div", 1), ("Pow", 0), ("Pow", 1), ("Where", 0), ("Mod", 1)}


def unary(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """The first input's labels; further outputs (Dropout's mask) carry the same."""
    _forbid_zero(labelling, vertex)
    return [list(labelling.of(vertex.inputs[0])) for _ in vertex.outputs]


def dropout(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Dropout: as its input, unless it drops when deployed too (an input of its own says so).

    What is dropped then is drawn anew, and otherwise for another shape: nothing can be compared.
    """
    mode = vertex.inputs[2] if len(vertex.inputs) > 2 else ""
    ratio = labelling.graph.constant(vertex.inputs[1]) if len(vertex.inputs) > 1 else None
    never = labelling.graph.constant(mode) if mode else np.False_
    if (never is None or np.any(never)) and (ratio is None or np.any(ratio)):
        reason = f"{vertex.name!r} drops at random, not only in training"
        labelling.freeze_all(vertex.inputs[0], reason)
        return [[None] * len(labelling.graph.shape(vertex.inputs[0]) or ()) for _ in vertex.outputs]
    return unary(labelling, vertex)


def elementwise(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Operands broadcast; equal positions go together, a broadcast width of 1 ties nothing."""
    operands = []
    for slot, name in enumerate(vertex.inputs):
        if (vertex.op_type, slot) in _NOT_ZEROED:
            labelling.unzeroable.add(name)
        operands.append((labelling.of(name), labelling.graph.shape(name) or ()))
    _forbid_zero(labelling, vertex)
    fixed = [name for name in vertex.inputs if name in labelling.graph.inputs]
    what = f"graph input {fixed[0]!r}" if fixed else "a fixed tensor"
    return [broadcast(labelling, operands, f"{vertex.name!r} combines it with {what}")]


def _forbid_zero(labelling: Labelling, vertex: Vertex) -> None:
    for slot, name in enumerate(vertex.inputs):
        what = _NOT_AT_ZERO.get((vertex.op_type, slot))
        if what and name not in labelling.graph.weights:
            for axis in labelling.of(name):
                labelling.forbid_zero(axis, name, f"{vertex.name!r} {what}")


def broadcast(
    labelling: Labelling, operands: Sequence[tuple[Axes, Sequence[int]]], reason: str
) -> Axes:
    """Labels of the broadcast of several operands, given as (labels, shape); ties them."""
    rank = max(len(shape) for _, shape in operands)
    out: Axes = []
    for axis in range(rank):
        meeting: list[tuple[Axis, int]] = []
        for axes, shape in operands:
            place = axis - rank + len(shape)
            if place >= 0:
                meeting.append((axes[place], shape[place]))
        length = max(size for _, size in meeting)
        present = [labels for labels, size in meeting if size == length]
        if length == 1:
            out.append(None)
            continue
        for labels in present[1:]:
            labelling.tie(present[0], labels, reason)
        out.append(None if any(labels is None for labels in present) else present[0])
    return out


RULES = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, elementwise),
    "Dropout": dropout,
}
