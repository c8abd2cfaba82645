"""Branches: what leaves a graph when a joint loses an input.

A joint (Add, Sum, the right side of Sub, Concat) goes on without one of its inputs. Everything that
only fed this input dies with it: one operator, a paper's segment, an attention block with all its
forks, half a U-net. So a branch is named by the *edges* it is cut off at, and not by its vertices.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graph_analysis.segments import Piece
from graph_analysis.trace_graph import Edge, TraceGraph

DROPPING = frozenset({"Add", "Concat", "Sub", "Sum"})  # joints that go on without an input
_SUMS = frozenset({"Add", "Sum"})
# fmt: off
_WITHOUT_WEIGHTS = frozenset(
    {
        "AveragePool", "Celu", "Clip", "Dropout", "Elu", "Gelu", "HardSigmoid", "HardSwish",
        "Identity", "LeakyRelu", "LpPool", "MaxPool", "Mish", "Pad", "Relu", "Resize", "Selu",
        "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "Upsample",
    }
)
# fmt: on
_FEW = 2
_LONGEST_FAN = 16  # operators between a fork and the joints that its arms end at
_WORK = 64  # looked at in all, for each vertex of the graph


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Edges that are cut together, and what dies with them.

    Attributes:
        tensor: The value that reaches the joints, or from which what reaches them is made.
        edges: Joints (vertex index) and the tensor that each of them loses.
        vertices: Those that lose their last use; the joints are not among them.
        is_known: Whether it was looked at; if not, ``vertices`` is empty.
    """

    tensor: str
    edges: tuple[Edge, ...]
    vertices: frozenset[int]
    is_known: bool = True


def branches(graph: TraceGraph, pieces: Sequence[Piece]) -> Iterator[Branch]:
    """Every branch of a graph, each once, in the order of their tensors.

    1. A tensor that only joints read is cut off at all of them (the paper's rule).
    2. One that something else reads as well is cut off at one joint at a time; it lives on.
    3. One whose every reader leads to joints through operators without weights (a fork into
       several scales) is cut off behind all of them.

    The number of vertices looked at is bounded, so that chains of nested branches cost no more than
    a multiple of the graph; what comes after that is given as not known.
    """
    readers = _readers(pieces)
    seen: set[tuple[Edge, ...]] = set()
    budget = _WORK * (len(graph.vertices) + 1)
    for tensor in readers:
        if tensor in graph.outputs:
            continue
        for edges in _edges(graph, readers, tensor):
            if edges in seen:
                continue
            seen.add(edges)
            if budget < 0:
                yield Branch(tensor=tensor, edges=edges, vertices=frozenset(), is_known=False)
                continue
            vertices = dying(graph, edges)
            budget -= len(vertices) + 1
            yield Branch(tensor=tensor, edges=edges, vertices=vertices)


def _readers(pieces: Iterable[Piece]) -> dict[str, list[Piece]]:
    found: dict[str, list[Piece]] = {}
    for piece in pieces:
        for name in dict.fromkeys(piece.inputs):
            found.setdefault(name, []).append(piece)
    return found


def _edges(
    graph: TraceGraph, readers: Mapping[str, Sequence[Piece]], tensor: str
) -> list[tuple[Edge, ...]]:
    joints = [piece for piece in readers[tensor] if is_joint(piece)]
    edges = [(piece.members[0].index, tensor) for piece in joints]
    users = {index for index, _ in graph.consumers.get(tensor, ())}
    if users == {index for index, _ in edges}:
        return [] if _is_partial_sum(graph, tensor, joints) else [tuple(edges)]
    found: list[tuple[Edge, ...]] = [(edge,) for edge in edges]
    fan = _fan(graph, readers, tensor, _LONGEST_FAN)
    return found if fan is None else [*found, tuple(sorted(set(fan)))]


def is_joint(piece: Piece) -> bool:
    """Whether two or more different activations meet in an operator that can do without one."""
    return (
        len(piece.members) == 1
        and len(set(piece.inputs)) > 1
        and piece.members[0].is_standard
        and piece.members[0].op_type in DROPPING
    )


def _is_partial_sum(graph: TraceGraph, tensor: str, joints: Sequence[Piece]) -> bool:
    """A sum that a sum alone reads is one with it: its terms are branches, it is none."""
    maker = graph.vertices[graph.producer[tensor]] if tensor in graph.producer else None
    if maker is None or maker.op_type not in _SUMS or len(joints) != 1:
        return False
    is_lone = all(name in graph.weights for name in maker.inputs[1:])
    return joints[0].members[0].op_type in _SUMS and not is_lone


def _fan(
    graph: TraceGraph, readers: Mapping[str, Sequence[Piece]], tensor: str, depth: int
) -> list[Edge] | None:
    if tensor in graph.outputs or tensor not in readers or depth == 0:
        return None
    users = {index for index, _ in graph.consumers.get(tensor, ())}
    if users != {m.index for p in readers[tensor] for m in p.members if tensor in m.inputs}:
        return None  # something reads its shape
    found: list[Edge] = []
    for piece in readers[tensor]:
        if is_joint(piece):
            found.append((piece.members[0].index, tensor))
            continue
        weights = [n for m in piece.members for n in m.inputs if n in graph.initializers]
        if piece.is_joint or any(len(graph.shape(name) or ()) > 1 for name in weights):
            return None
        further = _fan(graph, readers, piece.output, depth - 1)
        if further is None:
            return None
        found += further
    return found


def dying(graph: TraceGraph, edges: Iterable[Edge]) -> frozenset[int]:
    """Vertices that lose their last use when ``edges`` are cut; costs what dies, not the graph."""
    lost: dict[str, int] = {}
    dead: set[int] = set()
    stack: list[str] = []

    def lose(name: str) -> None:
        lost[name] = lost.get(name, 0) + 1
        stack.append(name)

    for _, tensor in edges:
        lose(tensor)
    while stack:
        name = stack.pop()
        index = graph.producer.get(name)
        if index is None or index in dead or index not in graph.reached:
            continue
        vertex = graph.vertices[index]
        if all(graph.uses.get(out, 0) <= lost.get(out, 0) for out in vertex.outputs if out):
            dead.add(index)
            for name in vertex.inputs:
                if name:
                    lose(name)
    return frozenset(dead)


def gated_edges(graph: TraceGraph, pieces: Sequence[Piece]) -> frozenset[Edge]:
    """Edges into Concats that can be cut although their channels live on elsewhere.

    What reaches the Concat there was made before a fork: it comes through operators without weights
    (a pooling branch), or directly (a long skip connection). Where one tensor is read by many
    Concats directly (DenseNet), each of them is not a choice of its own.
    """
    readers = _readers(pieces)
    found: set[Edge] = set()
    for piece in pieces:
        vertex = piece.members[0]
        is_in_body = vertex.name in graph.owners
        if vertex.op_type != "Concat" or not is_joint(piece) or is_in_body:
            continue
        for tensor in dict.fromkeys(piece.inputs):
            if vertex.inputs.count(tensor) > 1 or not _is_made_elsewhere(graph, readers, tensor):
                continue
            beside = [p for p in readers[tensor] if p.members[0].op_type == "Concat"]
            if len(beside) <= _FEW:
                found.add((vertex.index, tensor))
    return frozenset(found)


def _is_made_elsewhere(
    graph: TraceGraph, readers: Mapping[str, Sequence[Piece]], tensor: str
) -> bool:
    """Whether its channels live on without the one Concat that is looked at."""
    for _ in range(_LONGEST_FAN):
        if graph.uses.get(tensor, 0) > 1 or tensor in graph.inputs:
            return not all(is_joint(piece) for piece in readers.get(tensor, ()))
        if tensor not in graph.producer:
            return False
        vertex = graph.vertices[graph.producer[tensor]]
        data = [name for name in vertex.inputs if name and name not in graph.weights]
        if vertex.op_type not in _WITHOUT_WEIGHTS or len(data) != 1:
            return False
        tensor = data[0]
    return False
