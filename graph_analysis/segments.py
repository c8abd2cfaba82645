"""The segment graph: maximal chains of vertices (PAPER.md 1.2), joints alone.

Only data flow counts: vertices computed from weights alone, and shape arithmetic, are left out.
Decomposed activations and norms (SiLU, GELU, LayerNorm in pieces) are fused to one vertex first.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from graph_analysis.rules.elementwise import BINARY, UNARY
from graph_analysis.trace_graph import TraceGraph, Vertex

_FUSABLE = frozenset({*UNARY, *BINARY, "ReduceMean", "ReduceSum", "ReduceSumSquare", "Softmax"})
_FUSED_MAX = 16
_SHAPE_ONLY = frozenset({"Shape", "Size"})


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One vertex of the segment graph's ground: a vertex, or several fused to one."""

    members: tuple[Vertex, ...]
    inputs: tuple[str, ...]  # activations, with repetition
    output: str

    @property
    def is_joint(self) -> bool:
        """Two or more activations meet."""
        return len(self.inputs) > 1


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A maximal chain of pieces; ``outputs`` are the segments that its last piece feeds."""

    id: str
    pieces: tuple[Piece, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    joint: bool


@dataclass(frozen=True, kw_only=True)
class SegmentGraph:
    """All segments, in the order of their first vertex."""

    segments: tuple[Segment, ...]

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces, in the order of execution."""
        found = (piece for segment in self.segments for piece in segment.pieces)
        return tuple(sorted(found, key=lambda piece: piece.members[-1].index))

    @cached_property
    def by_id(self) -> Mapping[str, Segment]:
        """The segments, by id."""
        return {segment.id: segment for segment in self.segments}


def pieces_of(graph: TraceGraph) -> list[Piece]:
    """The data-flow vertices of a graph in order, decomposed activations and norms fused."""
    activations = _activations(graph)
    users = _users(graph, activations)
    fused: set[int] = set()
    pieces = []
    for vertex in graph.vertices:
        data = tuple(name for name in vertex.inputs if name in activations)
        made = [name for name in vertex.outputs if name in activations]
        if not data or not made or vertex.index in fused:
            continue
        region = (
            _region(graph, vertex, data, activations, users) if vertex.index not in fused else None
        )
        if region:
            fused.update(member.index for member in region)
            last = region[-1]
            pieces.append(Piece(members=tuple(region), inputs=(data[0],), output=last.outputs[0]))
            continue
        pieces.append(Piece(members=(vertex,), inputs=data, output=made[0]))
    return pieces


def _activations(graph: TraceGraph) -> set[str]:
    found = set(graph.inputs)
    for vertex in graph.vertices:
        if vertex.op_type in _SHAPE_ONLY:
            continue
        if any(name in found for name in vertex.inputs):
            found.update(name for name in vertex.outputs if name and graph.constant(name) is None)
    return found


def _users(graph: TraceGraph, activations: set[str]) -> dict[str, list[int]]:
    return {
        name: sorted(
            {
                i
                for i, _ in graph.consumers.get(name, ())
                if graph.vertices[i].op_type not in _SHAPE_ONLY
            }
        )
        for name in activations
    }


def _region(
    graph: TraceGraph,
    start: Vertex,
    data: tuple[str, ...],
    activations: set[str],
    users: Mapping[str, list[int]],
) -> list[Vertex] | None:
    """The weightless diamond that begins where ``start`` reads its input, if there is one.

    The input must have several users, all inside; everything must meet again in one vertex.
    """
    if len(set(data)) != 1:
        return None
    source = data[0]
    first = users[source]
    if len(first) < 2 or first[0] != start.index or source in graph.outputs:
        return None
    inside: dict[int, Vertex] = {}
    known = {source}
    queue = list(first)
    while queue:
        queue.sort()
        index = queue.pop(0)
        vertex = graph.vertices[index]
        reads = {name for name in vertex.inputs if name in activations}
        if vertex.op_type not in _FUSABLE or not reads <= known or len(inside) >= _FUSED_MAX:
            return None
        inside[index] = vertex
        known.update(vertex.outputs)
        open_ends = [
            name
            for member in inside.values()
            for name in member.outputs
            if name in activations
            and (name in graph.outputs or any(i not in inside for i in users.get(name, ())))
        ]
        left = [i for i in first if i not in inside]
        if not left and len(open_ends) == 1 and open_ends[0] == vertex.outputs[0]:
            return [inside[i] for i in sorted(inside)] if len(inside) > 1 else None
        for name in vertex.outputs:
            queue += [i for i in users.get(name, ()) if i not in inside and i not in queue]
    return None


def segment_graph(graph: TraceGraph) -> SegmentGraph:
    """Partition the pieces into segments by the paper's algorithm."""
    pieces = pieces_of(graph)
    maker = {piece.output: number for number, piece in enumerate(pieces)}
    for number, piece in enumerate(pieces):
        for member in piece.members:
            maker.update({name: number for name in member.outputs if name and name not in maker})
    after: list[list[int]] = [[] for _ in pieces]
    before: list[list[int]] = [[] for _ in pieces]
    for number, piece in enumerate(pieces):
        for name in piece.inputs:
            if name in maker:
                after[maker[name]].append(number)
                before[number].append(maker[name])
    home: dict[int, int] = {}
    chains: list[list[int]] = []
    queue = deque(
        n for n, piece in enumerate(pieces) if any(i in graph.inputs for i in piece.inputs)
    )
    while queue:
        number = queue.popleft()
        if number in home:
            continue
        chain = _chain(number, pieces, after, home, graph)
        home.update(dict.fromkeys(chain, len(chains)))
        chains.append(chain)
        queue.extend(n for n in after[chain[-1]] if n not in home)
    order = sorted(range(len(chains)), key=lambda place: chains[place][0])
    label = {place: f"s{rank}" for rank, place in enumerate(order)}
    return SegmentGraph(
        segments=tuple(
            Segment(
                id=label[place],
                pieces=tuple(pieces[n] for n in chains[place]),
                inputs=tuple(
                    dict.fromkeys(label[home[n]] for n in before[chains[place][0]] if n in home)
                ),
                outputs=tuple(
                    dict.fromkeys(label[home[n]] for n in after[chains[place][-1]] if n in home)
                ),
                joint=pieces[chains[place][0]].is_joint,
            )
            for place in order
        )
    )


def _chain(
    number: int,
    pieces: list[Piece],
    after: list[list[int]],
    home: dict[int, int],
    graph: TraceGraph,
) -> list[int]:
    chain = [number]
    while not pieces[number].is_joint:
        following = after[chain[-1]]
        ends = pieces[chain[-1]].output in graph.outputs
        if ends or len(following) != 1 or following[0] in home or pieces[following[0]].is_joint:
            break
        chain.append(following[0])
    return chain
