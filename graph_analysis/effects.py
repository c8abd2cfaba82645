"""What a solution does to every tensor and node: what vanishes, what is spliced, what shrinks."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from graph_analysis.labels import Classes, Labelling
from graph_analysis.trace_graph import Edge, TraceGraph, Vertex


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The footprint of one solution.

    Attributes:
        removed_nodes: Names of nodes that vanish, erased and dead.
        keep: Tensor or initializer that loses positions -> axis -> kept indices, ascending.
        shapes: Shape of every remaining tensor of known shape, under the analysis binding.
        splices: Output of a joint left with one input -> the tensor that takes its place.
        starved: Names of joints that lose all inputs; not empty means the solution is not valid.
        dropped: Name of a joint that goes on -> the tensors that it no longer reads.
    """

    removed_nodes: frozenset[str]
    keep: Mapping[str, Mapping[int, npt.NDArray[np.int64]]]
    shapes: Mapping[str, tuple[int, ...]]
    splices: Mapping[str, str]
    starved: tuple[str, ...]
    dropped: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Survivors:
    """What remains once some edges are cut.

    Attributes:
        removed: Vertices that vanish: dead or spliced out.
        splices: Output of a joint left with one input -> that input.
        starved: Names of joints that are needed and lose all their inputs.
        dropped: Joint that goes on -> the tensors that it no longer reads.
    """

    removed: frozenset[int]
    splices: Mapping[str, str]
    starved: tuple[str, ...]
    dropped: Mapping[int, frozenset[str]]

    def resolve(self, name: str) -> str:
        """The tensor that is read in place of ``name``; itself unless its joint is spliced out."""
        return _resolve(name, self.splices)


def survivors(graph: TraceGraph, cuts: Collection[Edge]) -> Survivors:
    """Take inputs away from joints, splice joints, then delete what nothing needs any more.

    1. A joint left with one input is spliced out; one left with none is starved.
    2. What was unused before stays; the cost is that of what goes, not of the graph.
    """
    lost: dict[int, set[str]] = {}
    for joint, tensor in cuts:
        lost.setdefault(joint, set()).add(tensor)
    splices: dict[str, str] = {}
    starved: list[int] = []
    for joint, tensors in lost.items():
        vertex = graph.vertices[joint]
        left = [name for name in vertex.inputs if name and name not in tensors]
        if not left:
            starved.append(joint)
        elif len(left) == 1:
            splices[vertex.outputs[0]] = left[0]
    removed = _unused(graph, lost, splices)
    return Survivors(
        removed=frozenset(removed),
        splices=splices,
        starved=tuple(
            graph.vertices[joint].name
            for joint in sorted(starved)
            if joint in graph.reached and joint not in removed
        ),
        dropped={
            joint: frozenset(tensors) for joint, tensors in lost.items() if joint not in removed
        },
    )


def _unused(
    graph: TraceGraph, lost: Mapping[int, set[str]], splices: Mapping[str, str]
) -> set[int]:
    """Spliced joints, and the vertices that lose their last use, by counting uses."""
    uses: dict[str, int] = {}  # of tensors whose number of uses changes
    removed: set[int] = set()
    doubtful: list[int] = []

    def change(name: str, by: int) -> None:
        name = _resolve(name, splices) if by < 0 else name
        uses[name] = uses.get(name, graph.uses.get(name, 0)) + by
        doubtful.append(graph.producer.get(name, -1))

    for name in splices:
        moved = graph.uses.get(name, 0)
        uses[name] = 0
        doubtful.append(graph.producer[name])
        change(_resolve(name, splices), moved)
    for joint in lost:
        if joint in graph.reached and graph.vertices[joint].outputs[0] not in splices:
            for name in lost[joint]:
                change(name, -1)
    while doubtful:
        index = doubtful.pop()
        vertex = graph.vertices[index]
        is_settled = index in removed or index not in graph.reached
        if is_settled or any(uses.get(n, graph.uses.get(n, 0)) for n in vertex.outputs if n):
            continue
        removed.add(index)
        cut = () if vertex.outputs[0] in splices else lost.get(index, ())
        for name in vertex.inputs:
            if name and name not in cut:
                change(name, -1)
    return removed


def is_dead(graph: TraceGraph, edges: Iterable[Edge], remaining: Survivors) -> bool:
    """Whether cutting ``edges`` changes nothing in what remains: they are cut, or lead nowhere."""
    return not any(_is_alive(graph, edge, remaining) for edge in edges)


def _is_alive(graph: TraceGraph, edge: Edge, remaining: Survivors) -> bool:
    joint, tensor = edge
    output = graph.vertices[joint].outputs[0]
    if output in remaining.splices:
        return remaining.splices[output] == tensor and _is_read(graph, output, remaining)
    return joint not in remaining.removed and tensor not in remaining.dropped.get(joint, ())


def _is_read(graph: TraceGraph, name: str, remaining: Survivors) -> bool:
    """Whether something that remains reads what a spliced joint made."""
    if name in graph.outputs:
        return True
    for index, _ in graph.consumers.get(name, ()):
        output = graph.vertices[index].outputs[0]
        if remaining.splices.get(output) == name and _is_read(graph, output, remaining):
            return True
        is_cut = name in remaining.dropped.get(index, ()) or output in remaining.splices
        if index not in remaining.removed and not is_cut:
            return True
    return False


def _resolve(name: str, splices: Mapping[str, str]) -> str:
    while name in splices:
        name = splices[name]
    return name


def footprint(
    graph: TraceGraph,
    labelling: Labelling,
    classes: Classes,
    remaining: Survivors,
    gone: npt.NDArray[np.bool_],
) -> Effects:
    """Effects of removing the classes marked in ``gone`` and the vertices of ``remaining``."""
    removed = {graph.vertices[index].name for index in remaining.removed}
    vanished = {name for i in remaining.removed for name in graph.vertices[i].outputs}
    keep: dict[str, dict[int, npt.NDArray[np.int64]]] = {}
    shapes = {}
    for name, shape in graph.shapes.shape.items():
        if name in vanished and name not in remaining.splices:
            continue
        length = list(shape)
        for axis, labels in enumerate(labelling.axes.get(name, [])):
            found = classes.of(labels)
            if found is None:
                continue
            stays = ~((found >= 0) & gone[found])
            if not stays.all():
                keep.setdefault(name, {})[axis] = np.flatnonzero(stays)
                length[axis] = int(stays.sum())
        shapes[name] = tuple(length)
    return Effects(
        removed_nodes=frozenset(removed),
        keep=keep,
        shapes=shapes,
        splices=remaining.splices,
        starved=remaining.starved,
        dropped={graph.vertices[joint].name: names for joint, names in remaining.dropped.items()},
    )


def is_connected(graph: TraceGraph, remaining: Survivors) -> bool:
    """Whether every graph output that depends on a graph input still does.

    One that never did (anchors, a table) is a constant of the model and stays one.
    """
    after = _fed(graph, remaining)
    wanted = [name for name in graph.outputs if name in graph.fed]
    return all(_resolve(name, remaining.splices) in after for name in wanted)


def _fed(graph: TraceGraph, remaining: Survivors) -> set[str]:
    """Tensors that depend on a graph input."""
    fed = set(graph.inputs)
    for vertex in graph.vertices:
        if vertex.index not in remaining.removed and _reads(vertex, fed, remaining):
            fed.update(filter(None, vertex.outputs))
    return fed


def _reads(vertex: Vertex, fed: set[str], remaining: Survivors) -> bool:
    dropped = remaining.dropped.get(vertex.index, frozenset())
    names: Sequence[str] = [name for name in vertex.inputs if name not in dropped]
    return any(_resolve(name, remaining.splices) in fed for name in names)
