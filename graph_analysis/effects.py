"""What a solution does to every tensor and node: what vanishes, what is spliced, what shrinks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graph_analysis.labels import Classes, Labelling
from graph_analysis.trace_graph import TraceGraph, Vertex

_SPLICED = frozenset({"Add", "Sum", "Concat"})


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The footprint of one solution.

    Attributes:
        removed_nodes: Names of nodes that vanish, erased and dead.
        keep: Tensor or initializer that loses positions -> axis -> kept indices, ascending.
        shapes: Shape of every remaining tensor of known shape, under the analysis binding.
        splices: Output of a joint left with one input -> the tensor that takes its place.
        starved: Names of joints that lose all inputs; not empty means the solution is not valid.
    """

    removed_nodes: frozenset[str]
    keep: Mapping[str, Mapping[int, npt.NDArray[np.int64]]]
    shapes: Mapping[str, tuple[int, ...]]
    splices: Mapping[str, str]
    starved: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Survivors:
    """Which vertices remain once some are erased."""

    removed: frozenset[int]
    splices: Mapping[str, str]
    starved: tuple[str, ...]


def survivors(graph: TraceGraph, erased: frozenset[int]) -> Survivors:
    """Splice joints, then delete everything no graph output is reached from.

    1. A joint (Add, Sum, Sub's left, Concat) drops inputs that come from erased vertices.
    2. Left with one input it is spliced out; left with none it is starved.
    """
    if not erased:
        return Survivors(removed=frozenset(), splices={}, starved=())
    dead = {name for index in erased for name in graph.vertices[index].outputs}
    splices: dict[str, str] = {}
    starved: list[str] = []
    needed = set(graph.outputs)
    for vertex in graph.vertices:
        hit = [name for name in vertex.inputs if name in dead]
        if not hit or vertex.index in erased:
            continue
        left = [name for name in vertex.inputs if name and name not in dead]
        if not left:
            starved.append(vertex.name)
        elif len(left) == 1:
            splices[vertex.outputs[0]] = left[0]
    live: set[int] = set()
    stack = [_resolve(name, splices) for name in needed]
    while stack:
        name = stack.pop()
        index = graph.producer.get(name)
        if index is None or index in live or index in erased:
            continue
        live.add(index)
        stack.extend(
            _resolve(n, splices) for n in graph.vertices[index].inputs if n and n not in dead
        )
    removed = frozenset(v.index for v in graph.vertices if v.index not in live)
    before = _reached(graph)
    removed = removed - (frozenset(v.index for v in graph.vertices) - before)
    starved = [name for name in starved if _index(graph, name) in live]
    return Survivors(removed=removed | erased, splices=splices, starved=tuple(starved))


def _index(graph: TraceGraph, name: str) -> int:
    return next(v.index for v in graph.vertices if v.name == name)


def _reached(graph: TraceGraph) -> frozenset[int]:
    found: set[int] = set()
    stack = list(graph.outputs)
    while stack:
        index = graph.producer.get(stack.pop())
        if index is not None and index not in found:
            found.add(index)
            stack.extend(graph.vertices[index].inputs)
    return frozenset(found)


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
    )


def is_connected(graph: TraceGraph, remaining: Survivors) -> bool:
    """Whether every graph output that depends on a graph input still does.

    One that never did (anchors, a table) is a constant of the model and stays one.
    """
    nothing = Survivors(removed=frozenset(), splices={}, starved=())
    before, after = _fed(graph, nothing), _fed(graph, remaining)
    wanted = [name for name in graph.outputs if name in before]
    return all(_resolve(name, remaining.splices) in after for name in wanted)


def _fed(graph: TraceGraph, remaining: Survivors) -> set[str]:
    """Tensors that depend on a graph input."""
    fed = set(graph.inputs)
    for vertex in graph.vertices:
        if vertex.index not in remaining.removed and _reads(vertex, fed, remaining.splices):
            fed.update(vertex.outputs)
    return fed


def _reads(vertex: Vertex, fed: set[str], splices: Mapping[str, str]) -> bool:
    names: Sequence[str] = vertex.inputs
    return any(_resolve(name, splices) in fed for name in names)
