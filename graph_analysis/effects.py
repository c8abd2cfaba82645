"""What a solution does to every tensor and node: what vanishes, what is spliced, what shrinks."""

from collections.abc import Mapping
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
    3. What was unused before stays; the cost is that of what goes, not of the graph.
    """
    if not erased:
        return Survivors(removed=frozenset(), splices={}, starved=())
    dead = {name for index in erased for name in graph.vertices[index].outputs if name}
    hit = {index for name in dead for index, _ in graph.consumers.get(name, ())} - erased
    splices: dict[str, str] = {}
    starved: list[int] = []
    for index in sorted(hit):
        vertex = graph.vertices[index]
        left = [name for name in vertex.inputs if name and name not in dead]
        if not left:
            starved.append(index)
        elif len(left) == 1 and vertex.outputs[0]:
            splices[vertex.outputs[0]] = left[0]
    removed = _unused(graph, erased, splices)
    return Survivors(
        removed=frozenset(removed),
        splices=splices,
        starved=tuple(
            graph.vertices[index].name
            for index in starved
            if index in graph.reached and index not in removed
        ),
    )


def _unused(graph: TraceGraph, erased: frozenset[int], splices: Mapping[str, str]) -> set[int]:
    """Erased vertices, and those that lose their last use with them, by counting uses."""
    uses: dict[str, int] = {}  # of tensors whose number of uses changes

    def change(name: str, by: int) -> None:
        uses[name] = uses.get(name, graph.uses.get(name, 0)) + by

    for name in splices:
        change(_resolve(name, splices), graph.uses.get(name, 0))
        uses[name] = 0
    removed = set(erased)
    stack = [index for index in erased if index in graph.reached]
    doubtful = [graph.producer[name] for name in splices]
    while stack or doubtful:
        if stack:
            for name in filter(None, graph.vertices[stack.pop()].inputs):
                kept = _resolve(name, splices)
                change(kept, -1)
                doubtful.append(graph.producer.get(kept, -1))
            continue
        index = doubtful.pop()
        if index < 0 or index in removed or index not in graph.reached:
            continue
        if not any(uses.get(n, graph.uses.get(n, 0)) for n in graph.vertices[index].outputs if n):
            removed.add(index)
            stack.append(index)
    return removed


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
    fed = set(graph.inputs)
    for vertex in graph.vertices:
        if vertex.index not in remaining.removed and _reads(vertex, fed, remaining.splices):
            fed.update(filter(None, vertex.outputs))
    wanted = (name for name in graph.outputs if name in graph.fed)
    return all(_resolve(name, remaining.splices) in fed for name in wanted)


def _reads(vertex: Vertex, fed: set[str], splices: Mapping[str, str]) -> bool:
    return any(_resolve(name, splices) in fed for name in vertex.inputs)
