"""Shape and Size: their results follow the cut, unless a length becomes a factor of the data.

A factor means the size that the network was trained with. One that no free axis changes is written
into the cut model as the number that it was; any other keeps its length from being cut.
"""

from collections.abc import Sequence

import numpy as np

from graph_analysis.coupling import Labels
from graph_analysis.labels import Axes, Labelling
from graph_analysis.rules.fitting import misfit
from graph_analysis.trace_graph import TraceGraph, Vertex

_SHAPE_TAKERS = frozenset({"Reshape", "Expand", "Resize", "Slice", "Tile", "Pad", "Upsample"})
_ARITHMETIC = ("Div", "Floor", "Ceil", "Mul", "Add", "Cast")


def shape_of(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Shape and Size read no values; a length turned into a float (a scale) must stay, though."""
    x = labelling.of(vertex.inputs[0])
    for axis in _factors(labelling.graph, vertex, len(x)):
        labelling.freeze(x[axis], f"{vertex.name!r} turns its length into a factor")
    return [[None] * len(labelling.graph.shape(vertex.outputs[0]) or ())]


def _factors(graph: TraceGraph, vertex: Vertex, rank: int) -> set[int]:
    """Axes whose length becomes a float."""
    name = vertex.outputs[0]
    users = [graph.vertices[index] for index, _ in graph.consumers.get(name, ())]
    entries = np.arange(rank)[vertex.attributes.get("start", 0) : vertex.attributes.get("end")]
    found: set[int] = set()
    for user in users:
        chosen = _chosen(graph, user, name, entries) if vertex.op_type == "Shape" else None
        if chosen is None and _becomes_float(graph, [name]):
            return set(range(rank))
        if chosen is not None and _becomes_float(graph, user.outputs):
            found.update(chosen)
    return found


def _chosen(graph: TraceGraph, user: Vertex, name: str, entries: Labels) -> list[int] | None:
    """Which entries of a Shape a Gather or Slice takes, if that is known."""
    if user.op_type not in ("Gather", "Slice") or not user.is_standard or user.inputs[0] != name:
        return None
    operands = [graph.constant(operand) for operand in user.inputs[1:]]
    if any(operand is None or not operand.size for operand in operands) or misfit(graph, user):
        return None
    numbers = [np.atleast_1d(operand) for operand in operands if operand is not None]
    if any(number.dtype.kind not in "iu" for number in numbers):
        return None
    if user.op_type == "Gather":
        return [int(entry) for entry in entries[numbers[0].ravel()]]
    if len(numbers) < 2:
        return None
    step = int(numbers[3][0]) if len(numbers) > 3 else 1
    if step == 0:
        return None
    return [int(entry) for entry in entries[int(numbers[0][0]) : int(numbers[1][0]) : step]]


def _becomes_float(graph: TraceGraph, names: Sequence[str]) -> bool:
    stack, seen = [*names], set()
    while stack:
        name = stack.pop()
        for index, slot in graph.consumers.get(name, ()):
            user = graph.vertices[index]
            takes_shape = slot > 0 and user.op_type in _SHAPE_TAKERS
            if takes_shape or user.op_type == "ConstantOfShape" or index in seen:
                continue
            seen.add(index)
            if user.op_type == "Cast" and graph.is_float(user.outputs[0]):
                if not _returns_to_integer(graph, user) and not _is_one_number(graph, user):
                    return True
                continue
            stack.extend(user.outputs)
    return False


def _is_one_number(graph: TraceGraph, cast: Vertex) -> bool:
    """Whether what data meets of this float is one number, whatever the free axes are."""
    stack, seen = [*cast.outputs], set()
    while stack:
        name = stack.pop()
        value = graph.constant(name)
        if value is None or name in graph.varying:
            return False
        for index, _ in graph.consumers.get(name, ()):
            made = [output for output in graph.vertices[index].outputs if output]
            if any(graph.constant(output) is None for output in made):
                if value.size > 1:
                    return False
            elif index not in seen:
                seen.add(index)
                stack.extend(made)
    return True


def _returns_to_integer(graph: TraceGraph, cast: Vertex) -> bool:
    """Whether exporters' detour over floats (Cast, Div, Floor, Cast) ends in an integer again."""
    stack = list(cast.outputs)
    while stack:
        for index, _ in graph.consumers.get(stack.pop(), ()):
            user = graph.vertices[index]
            if user.op_type == "Cast" and not graph.is_float(user.outputs[0]):
                continue
            if user.op_type not in _ARITHMETIC:
                return False
            stack.extend(user.outputs)
    return True


RULES = {"Shape": shape_of, "Size": shape_of}
