"""Axes whose positions go separate ways: query, key and value of one packed projection."""

import numpy as np

from graph_analysis.trace_graph import TraceGraph, Vertex

_PASSES = frozenset({"Cast", "Dropout", "Identity"})
_MOST = 16  # vertices looked at: the parts separate close to the reshape, or not at all


def taken_apart(graph: TraceGraph, tensor: str, axis: int) -> bool:
    """Whether single positions of an axis are picked by constants behind the tensor."""
    queue = [(tensor, axis)]
    for name, place in queue:
        if len(queue) > _MOST:
            return False
        for index, slot in graph.consumers.get(name, ()):
            user = graph.vertices[index]
            if _picks_single(graph, user, place, slot):
                return True
            moved = _moved(graph, user, place)
            if moved is not None:
                queue.append((user.outputs[0], moved))
    return False


def _picks_single(graph: TraceGraph, user: Vertex, axis: int, slot: int) -> bool:
    shape = graph.shape(user.inputs[0])
    if slot or shape is None:
        return False
    if user.op_type == "MultiHeadAttention":  # (N, tokens, heads, query and key and value, size)
        return len(shape) == 5 and axis == 3
    if user.op_type == "Gather":
        indices = graph.constant(user.inputs[1])
        on_axis = user.attributes.get("axis", 0) % len(shape) == axis
        return on_axis and indices is not None and indices.size == 1
    if user.op_type in ("Split", "Slice"):
        out = graph.shape(user.outputs[0])
        return out is not None and out[axis] == 1 < shape[axis]
    return False


def _moved(graph: TraceGraph, user: Vertex, axis: int) -> int | None:
    """Where the axis is behind an operator that only rearranges axes."""
    before, after = graph.shape(user.inputs[0]), graph.shape(user.outputs[0])
    if before is None or after is None:
        return None
    if user.op_type in _PASSES:
        return axis
    if user.op_type == "Transpose":
        order = list(user.attributes.get("perm") or range(len(before))[::-1])
        return order.index(axis) if axis in order else None
    if user.op_type in ("Squeeze", "Unsqueeze"):
        return _resized(before, after, axis)
    return None


def _resized(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """The place of an axis of length > 1 once axes of length 1 came or went."""
    old = [place for place, length in enumerate(before) if length > 1]
    new = [place for place, length in enumerate(after) if length > 1]
    if axis not in old or len(old) != len(new):
        return None
    return int(np.asarray(new)[old.index(axis)])
