"""Einsum: every index ties the axes that carry it; what is summed over must be 0 once removed."""

from graph_analysis.equation import Equation, parse
from graph_analysis.labels import Axes, Axis, Labelling
from graph_analysis.trace_graph import Vertex


def einsum(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Einsum, of any number of operands.

    1. Axes with one index go together; a length of 1 that is broadcast ties nothing.
    2. An index that is summed over contributes nothing once removed, if a weight carries it (its
       slice is set to 0) or an activation that is 0 there; else it stays.
    3. A diagonal (one index twice in an operand) stays.
    """
    shapes = [labelling.graph.shape(name) or () for name in vertex.inputs]
    equation = equation_of(vertex, [len(shape) for shape in shapes])
    rank = len(labelling.graph.shape(vertex.outputs[0]) or ())
    if equation is None or equation.has_diagonal:
        why = "has an equation that is not understood" if equation is None else "takes a diagonal"
        for name in vertex.inputs:
            labelling.freeze_all(name, f"{vertex.name!r} {why}")
        return [[None] * rank]
    met = {index: _met(labelling, vertex, equation, index) for index in equation.indices}
    return [[met[index] for index in equation.output]]


def equation_of(vertex: Vertex, ranks: list[int]) -> Equation | None:
    """The equation of an Einsum vertex, or None if it does not fit its operands."""
    text = vertex.attributes.get("equation", b"")
    return parse(text.decode(errors="replace") if isinstance(text, bytes) else text, ranks)


def _met(labelling: Labelling, vertex: Vertex, equation: Equation, index: str) -> Axis:
    """Tie the axes that carry ``index``; what the output carries there."""
    graph = labelling.graph
    carriers = []
    for name, operand in zip(vertex.inputs, equation.operands, strict=True):
        if index in operand:
            axis = operand.index(index)
            carriers.append((name, axis, (graph.shape(name) or ())[axis], labelling.of(name)[axis]))
    length = max(size for _, _, size, _ in carriers)
    full = [carrier for carrier in carriers if carrier[2] == length]
    if length == 1:
        return None
    first = full[0][3]
    for _, _, _, labels in full[1:]:
        labelling.tie(first, labels, f"{vertex.name!r} combines it with a fixed axis")
    fixed = any(labels is None for *_, labels in full)
    names = [name for name, *_ in full]
    if index not in equation.output:
        if not fixed and not any(name in graph.stored for name in names):
            reason = f"{vertex.name!r} sums over it"
            labelling.require_zero(first, names, reason)
        return None
    if len(carriers) == 1:
        labelling.note_born(names[0], full[0][1], vertex)
    return None if fixed else first


RULES = {"Einsum": einsum}
