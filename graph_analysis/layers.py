"""Larger structures as unions of smaller ones, and which structure lies in which.

In a network that repeats a pair of residual branches (attention, then an MLP), the pair is a layer:
one more choice beside its parts.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from graph_analysis.segments import Piece
from graph_analysis.silence import STEMS
from graph_analysis.structures import Structure
from graph_analysis.trace_graph import TraceGraph

_ADDING = frozenset({"Add", "Sum"})
_BETWEEN = 8  # operators without matrices between two residual branches: norms, activations
_LONGEST = 4  # branches in one layer

Signature = tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]


def layers(
    graph: TraceGraph, pieces: Sequence[Piece], structures: Sequence[Structure]
) -> list[Structure]:
    """Unions of the branches of one layer, for chains of residual branches that repeat."""
    chains = _Chains(graph, pieces, structures)
    found = []
    for chain in chains.all():
        signatures = [_signature(graph, structure) for structure in chain]
        period = _period(signatures)
        if period > 1:
            whole = len(chain) - len(chain) % period
            found += [_union(chain[at : at + period]) for at in range(0, whole, period)]
    return found


class _Chains:
    """Residual branches that follow each other along one trunk."""

    def __init__(
        self, graph: TraceGraph, pieces: Sequence[Piece], structures: Sequence[Structure]
    ) -> None:
        self._graph = graph
        self._maker = {piece.output: piece for piece in pieces}
        at: dict[int, list[Structure]] = defaultdict(list)
        for structure in structures:
            joints = {joint for joint, _ in structure.edges}
            if len(structure.edges) == 1 and structure.vertices:
                at[min(joints)].append(structure)
        self._at = {
            joint: entries[0]
            for joint, entries in at.items()
            if len(entries) == 1 and graph.vertices[joint].op_type in _ADDING
        }

    def all(self) -> Iterator[list[Structure]]:
        """Every chain of two or more, in order."""
        after = {self._before(joint): joint for joint in sorted(self._at, reverse=True)}
        starts = [joint for joint in sorted(self._at) if self._before(joint) is None]
        for joint in starts:
            chain = [self._at[joint]]
            while joint in after:
                joint = after[joint]
                chain.append(self._at[joint])
            if len(chain) > 1:
                yield chain

    @cached_property
    def _earlier(self) -> Mapping[int, int | None]:
        return {joint: self._look_back(joint) for joint in self._at}

    def _before(self, joint: int) -> int | None:
        return self._earlier[joint]

    def _look_back(self, joint: int) -> int | None:
        """The joint whose output reaches this one beside its branch."""
        lost = {tensor for _, tensor in self._at[joint].edges}
        others = [n for n in self._graph.vertices[joint].inputs if n and n not in lost]
        if len(others) != 1:
            return None
        tensor = others[0]
        for _ in range(_BETWEEN):
            piece = self._maker.get(tensor)
            if piece is None:
                return None
            index = piece.members[-1].index
            if index in self._at:
                return index
            if piece.is_joint or any(member.op_type in STEMS for member in piece.members):
                return None
            tensor = piece.inputs[0]
        return None


def _signature(graph: TraceGraph, structure: Structure) -> Signature:
    """Operators with weights and the shapes of these: equal for branches of one design."""
    found = []
    for index in sorted(structure.vertices):
        vertex = graph.vertices[index]
        if vertex.op_type in STEMS:
            names = [name for name in vertex.inputs if name in graph.initializers]
            found.append((vertex.op_type, tuple(tuple(graph.initializers[n].dims) for n in names)))
    return tuple(found)


def _period(signatures: Sequence[Signature]) -> int:
    """Length of the pattern that repeats through a whole chain; 0 if none does."""
    for period in range(1, min(_LONGEST, len(signatures) // 2) + 1):
        if all(signatures[n] == signatures[n + period] for n in range(len(signatures) - period)):
            return period
    return 0


def _union(parts: Sequence[Structure]) -> Structure:
    groups = [part.group for part in parts]
    last = groups[-1].nodes[-1]
    group = replace(
        groups[0],
        id=f"{groups[0].id}..{last}",
        zero=tuple(slices for group in groups for slices in group.zero),
        cut=tuple(slices for group in groups for slices in group.cut),
        nodes=tuple(name for group in groups for name in group.nodes),
        masks=tuple(slices for group in groups for slices in group.masks),
        masked=any(group.masked for group in groups),
    )
    return Structure(
        group=group,
        edges=frozenset().union(*(part.edges for part in parts)),
        vertices=frozenset().union(*(part.vertices for part in parts)),
        classes=tuple(sorted({unit for part in parts for unit in part.classes})),
        gates=tuple(gate for part in parts for gate in part.gates),
    )


def parents(structures: Sequence[Structure]) -> dict[str, str]:
    """Structure -> the smallest one that takes it along, for those that lie in another."""
    by_size = sorted(structures, key=lambda entry: len(entry.vertices))
    holders: dict[int, list[Structure]] = defaultdict(list)
    for entry in by_size:
        for index in entry.vertices:
            holders[index].append(entry)
    found = {}
    for entry in structures:
        somewhere = min(entry.vertices, default=min(entry.edges)[0])
        outer = next((o for o in holders.get(somewhere, ()) if _takes_along(o, entry)), None)
        if outer is not None:
            found[entry.group.id] = outer.group.id
    return found


def _takes_along(outer: Structure, inner: Structure) -> bool:
    if outer.group.id == inner.group.id or not inner.vertices <= outer.vertices:
        return False
    inside = all(joint in outer.vertices or (joint, t) in outer.edges for joint, t in inner.edges)
    return inside and (len(inner.vertices), inner.edges) != (len(outer.vertices), outer.edges)
