"""If, Loop and Scan in the flat view (``bodies``): what is tied across the border of a body.

An If gives one of its branches: both lose what the output loses. A state of a Loop or Scan is one
tensor before, in and after the iterations. What is stacked, or taken slice by slice, has one axis
more outside than inside; nothing can be taken from that axis.
"""

from graph_analysis.control_shapes import parts
from graph_analysis.labels import Axes, Labelling
from graph_analysis.trace_graph import TraceGraph, Vertex


def branches(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """If: positions of the output go in both branches."""
    count = (len(vertex.inputs) - 1) // 2
    made = zip(vertex.inputs[1 : 1 + count], vertex.inputs[1 + count :], strict=True)
    why = f"the other branch of {vertex.name!r} gives a tensor that stays"
    return [_both(labelling, one, other, why) for one, other in made]


def _both(labelling: Labelling, one: str, other: str, reason: str) -> Axes:
    out: Axes = []
    for left, right in zip(labelling.of(one), labelling.of(other), strict=True):
        labelling.tie(left, right, reason)
        out.append(None if left is None or right is None else left)
    return out


def enter_loop(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Count and condition carry nothing; a state is what it was before."""
    first = [labelling.of(name) for name in vertex.inputs[2:]]
    own: list[Axes] = [[None] * len(labelling.graph.shape(n) or ()) for n in vertex.outputs[:2]]
    return own + [list(axes) for axes in first]


def enter_scan(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """A state is what it was before; of what is scanned the body sees one slice."""
    carried = int(vertex.attributes["carried"])
    out = [list(labelling.of(name)) for name in vertex.inputs[:carried]]
    scanned = vertex.inputs[carried:]
    axes = vertex.attributes.get("scan_input_axes") or [0] * len(scanned)
    for name, axis in zip(scanned, axes, strict=True):
        inner = list(labelling.of(name))
        labelling.freeze(
            inner.pop(axis), f"{vertex.attributes['control'].decode()!r} runs along it"
        )
        out.append(inner)
    return out


def leave(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Loop, Scan: a state is the same when the body ends; what is stacked gets an axis."""
    carried = int(vertex.attributes["carried"])
    first, after, made = parts(vertex.op_type, list(vertex.inputs), list(vertex.outputs), carried)
    why = f"{vertex.name!r} goes on from a tensor that stays"
    out = [_both(labelling, one, other, why) for one, other in zip(first, after, strict=True)]
    axes = vertex.attributes.get("scan_output_axes") or [0] * len(made)
    for name, axis in zip(made, axes, strict=True):
        outer = list(labelling.of(name))
        outer.insert(axis % (len(outer) + 1), None)
        out.append(outer)
    return out


def why_not(graph: TraceGraph, vertex: Vertex) -> str | None:
    """Why nothing may go around ``vertex`` on account of the bodies it lies in; None if it may."""
    for owner in graph.owners.get(vertex.name, ()):
        if owner in graph.unstable:
            return f"{graph.unstable[owner]!r} may change its shape between iterations of {owner!r}"
    return None


def why_unknown(graph: TraceGraph, vertex: Vertex) -> str:
    """What a user should read about a control node with a tensor of unknown shape."""
    if vertex.op_type == "If" and all(graph.shape(name) is not None for name in vertex.inputs):
        return "its branches give different shapes"
    return "shapes are unknown"


RULES = {
    "If": branches,
    "Loop": leave,
    "LoopBody": enter_loop,
    "Scan": leave,
    "ScanBody": enter_scan,
}
