"""Removal structures: branches that can be erased whole, and how their contribution is silenced.

The paper's rule (a segment with trainable variables whose last vertex feeds joints only, PAPER.md
1.2) made exact, and widened: a structure is whatever dies when joints lose an input, so it may
consist of many segments, or hold no weights at all. What reaches the joints must be 0 in the masked
model: where zeroing the weights of the structure brings that about, they are its zero slices;
elsewhere a gate at the joints does.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain, count

import numpy as np

from graph_analysis.bodies import CONTROL
from graph_analysis.branches import Branch, branches
from graph_analysis.costs import CostModel
from graph_analysis.labels import Classes, Labelling
from graph_analysis.layers import layers
from graph_analysis.masking import Gate
from graph_analysis.node_groups import with_masks
from graph_analysis.places import Places
from graph_analysis.rules.elementwise import UNARY
from graph_analysis.search_space import Group, GroupKind, WeightSlices
from graph_analysis.segments import Piece, SegmentGraph
from graph_analysis.silence import AFFINE, STEMS, Silence, is_finite_at_zero
from graph_analysis.structures import Refused, Structure, with_gates
from graph_analysis.trace_graph import MOVES_ONLY, TraceGraph, Vertex

# fmt: off
_WORK = frozenset(
    {
        "AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool",
        "Resize", "Upsample",
    }
)
# fmt: on
_NEAR = 8  # operators between a joint and what is looked for before it
_CHEAP = (
    frozenset(UNARY)
    | MOVES_ONLY
    | {"Add", "Constant", "ConstantOfShape", "Dropout", "Pad", "Shape", "Sub", "Sum"}
)


def removal_structures(
    graph: TraceGraph,
    segments: SegmentGraph,
    labelling: Labelling,
    classes: Classes,
    costs: CostModel,
    *,
    places: Places,
    masked: Places,
    protect: Collection[str],
) -> tuple[list[Structure], list[Refused]]:
    """All removal structures of a graph, smaller ones first, and the branches that are none."""
    pieces = segments.pieces
    finder = _Finder(
        graph=graph,
        labelling=labelling,
        classes=classes,
        costs=costs,
        protect=protect,
        places=places,
        masked=masked,
        piece_of={member.index: piece for piece in pieces for member in piece.members},
    )
    home = {
        member.index: segment.id
        for segment in segments.segments
        for piece in segment.pieces
        for member in piece.members
    }
    found: list[Structure] = []
    refused: list[Refused] = []
    names = _Names(graph)
    order = sorted(branches(graph, pieces), key=lambda b: (len(b.vertices), b.edges))
    for branch in order:
        end = home.get(graph.producer.get(branch.tensor, -1), home.get(branch.edges[0][0], ""))
        reason, gone = finder.reason(branch)
        if reason:
            refused.append(Refused(segment=end, reason=reason))
        else:
            found.append(finder.structure(branch, gone, names.of(branch)))
    found += layers(graph, pieces, found)
    found.sort(key=lambda s: min(s.vertices, default=min(s.edges)[0]))
    return found, refused


class _Names:
    """Readable ids: the first node with weights; the last one too, where that names another."""

    def __init__(self, graph: TraceGraph) -> None:
        self._graph = graph
        self._taken: set[str] = set()

    def of(self, branch: Branch) -> str:
        vertices = [self._graph.vertices[index] for index in sorted(branch.vertices)]
        joint, tensor = self._graph.vertices[branch.edges[0][0]], branch.edges[0][1]
        choices = [f"{joint.name}[{joint.inputs.index(tensor)}]"]
        if vertices:
            weighty = [v for v in vertices if any(map(self._is_weight, v.inputs))]
            first = (weighty or vertices)[0].name
            choices = [first, f"{first}..{vertices[-1].name}", *choices]
        numbered = (f"{choices[0]}#{number}" for number in count(2))
        name = next(choice for choice in chain(choices, numbered) if choice not in self._taken)
        self._taken.add(name)
        return f"operator:{name}"

    def _is_weight(self, name: str) -> bool:
        is_single = not self._graph.shape(name)
        return name in self._graph.weights and not is_single and self._graph.is_float(name)


@dataclass(frozen=True, kw_only=True)
class _Finder:
    graph: TraceGraph
    labelling: Labelling
    classes: Classes
    costs: CostModel
    protect: Collection[str]
    places: Places
    masked: Places
    piece_of: dict[int, Piece]

    def reason(self, branch: Branch) -> tuple[str | None, list[int]]:
        """Why a branch is no structure, or None; and the classes that would go at Concats."""
        gone: list[int] = []
        if not branch.is_known:
            return "was not looked at: too many branches lie within each other", gone
        if not self.graph.is_float(branch.tensor) or not self.graph.shape(branch.tensor):
            return "is no tensor of floats", gone
        reason = self._in_body(branch) or self._protected(branch)
        for joint, tensor in branch.edges:
            reason = reason or self._joint(branch, self.graph.vertices[joint], tensor, gone)
        if not reason and not gone and not self._is_worth_it(branch):
            reason = self._ends_at_output(branch.tensor)
            return reason or "nothing would be saved without this skip connection", gone
        return reason, gone

    def _in_body(self, branch: Branch) -> str | None:
        for index in branch.vertices:
            vertex = self.graph.vertices[index]
            if vertex.domain == CONTROL or vertex.name in self.graph.owners:
                owner = next(iter(self.graph.owners.get(vertex.name, (vertex.name,))))
                return f"lies in a body of {owner!r}"
        return None

    def _is_worth_it(self, branch: Branch) -> bool:
        """Whether anything dies that multiplies, holds weights, pools or resizes."""
        vertices = [self.graph.vertices[index] for index in branch.vertices]
        works = any(v.index in self.costs.macs or v.op_type in _WORK for v in vertices)
        return works or bool(self._weights(branch.vertices))

    def _ends_at_output(self, tensor: str) -> str | None:
        for _ in range(_NEAR):
            if tensor not in self.graph.producer:
                break
            vertex = self.graph.vertices[self.graph.producer[tensor]]
            if set(vertex.outputs) & set(self.graph.outputs):
                return "a graph output lies in it"
            if vertex.op_type not in _CHEAP or not vertex.inputs:
                return None
            tensor = vertex.inputs[0]
        return None

    def _protected(self, branch: Branch) -> str | None:
        members = [self.graph.vertices[index] for index in branch.vertices]
        names = {name for m in members for name in (m.name, *m.outputs) if name}
        names |= {branch.tensor, *self._weights(branch.vertices)}
        for pattern in self.protect:
            if any(fnmatchcase(name, pattern) for name in names):
                return f"protected by {pattern!r}"
        return None

    def _weights(self, vertices: Iterable[int]) -> list[str]:
        """Parameters that nothing outside of ``vertices`` reads, in the order of their use."""
        inside = set(vertices)
        names = [name for index in sorted(inside) for name in self.graph.vertices[index].inputs]
        return [
            name
            for name in dict.fromkeys(names)
            if name in self.costs.parameters
            and all(index in inside for index, _ in self.graph.consumers[name])
        ]

    def _joint(self, branch: Branch, vertex: Vertex, tensor: str, gone: list[int]) -> str | None:
        if vertex.inputs.count(tensor) > 1:
            return f"is both inputs of {vertex.name!r}"
        lost = {name for joint, name in branch.edges if joint == vertex.index}
        if all(name in lost for name in vertex.inputs if name):
            return f"is all that {vertex.name!r} joins"
        if vertex.op_type == "Concat":
            return self._concat(branch, vertex, tensor, gone)
        if vertex.op_type == "Sub" and vertex.inputs[0] == tensor:
            return f"is the left side of {vertex.name!r}"
        shape = self.graph.shape(vertex.outputs[0])
        others = [name for name in vertex.inputs if name != tensor]
        if shape is None or any(self.graph.shape(other) != shape for other in others):
            return f"gives {vertex.name!r} its shape"
        if any(name in self.graph.weights for name in others):
            return f"meets a constant at {vertex.name!r}"
        return None

    def _concat(self, branch: Branch, vertex: Vertex, tensor: str, gone: list[int]) -> str | None:
        gate = self.labelling.gates.get((vertex.index, tensor))
        if gate is not None:
            return self._gated(gate, gone)
        labels = self.labelling.axes.get(tensor, [])
        axis = vertex.attributes.get("axis", 1)
        fits = -len(labels) <= axis < len(labels)  # not where a damaged file says another
        found = self.classes.of(labels[axis]) if fits else None
        if found is None or (found < 0).any():
            return "the positions it would leave in a Concat must stay"
        wanted = set(found.tolist())
        if wanted <= set(gone):  # the same channels met another Concat before
            return None
        if wanted & self._crossed:
            return "the positions it would leave in a Concat are crossed with others"
        for name, place, _ in self.places.names_of(found):
            if not self.labelling.born.get((name, place), branch.vertices) <= branch.vertices:
                return "its channels are also made elsewhere"
        gone.extend(sorted(wanted - set(gone)))
        return None

    @cached_property
    def _crossed(self) -> frozenset[int]:
        parts = self.classes.crossings
        return frozenset(np.concatenate([parts.crossing, parts.rows, parts.columns]).tolist())

    def _gated(self, gate: int, gone: list[int]) -> str | None:
        found = int(self.classes.class_of[gate])
        if found < 0:
            return "the positions it would leave in a Concat must stay"
        gone.append(found)
        return None

    def structure(self, branch: Branch, gone: Sequence[int], key: str) -> Structure:
        """The structure of a branch that nothing speaks against."""
        weights = [
            name
            for name in self._weights(branch.vertices)
            if name not in self.labelling.unzeroable and self._is_zeroable(name)
        ]
        is_finite = is_finite_at_zero(self.graph, branch.vertices)
        silent = is_finite and self._is_silent(branch, weights)
        zero = [
            WeightSlices(
                initializer=name,
                axis=0,
                unit_indices=(tuple(range(self.graph.initializers[name].dims[0])),),
            )
            for name in (weights if is_finite else ())
        ]
        cut = self._positions(gone, set(self._weights(branch.vertices)))
        zero += [
            slices
            for slices in cut
            if slices.initializer not in self.labelling.unzeroable
            and slices.initializer in self.costs.parameters
        ]
        group = Group(
            id=key,
            kind=GroupKind.OPERATOR,
            units=1,
            zero=tuple(zero),
            cut=tuple(cut),
            nodes=tuple(self.graph.vertices[index].name for index in sorted(branch.vertices)),
        )
        if gone:
            group = with_masks(group, gone, self.masked)
        gates = () if silent else (self._gate(branch, key),)
        return Structure(
            group=with_gates(group, gates),
            edges=frozenset(branch.edges),
            vertices=branch.vertices,
            classes=tuple(gone),
            gates=gates,
        )

    def _is_zeroable(self, name: str) -> bool:
        """Not a lone number beside the weights (an epsilon, a factor of an activation in parts)."""
        if np.prod(self.graph.initializers[name].dims) > 1:
            return True
        users = (self.graph.vertices[index].op_type for index, _ in self.graph.consumers[name])
        return any(user in STEMS or user in AFFINE for user in users)

    def _is_silent(self, branch: Branch, weights: Collection[str]) -> bool:
        inside = {id(p): p for i in sorted(branch.vertices) if (p := self.piece_of.get(i))}
        look = Silence(graph=self.graph, zeroed=frozenset(weights))
        return look.is_zero(inside.values(), [tensor for _, tensor in branch.edges])

    def _positions(self, gone: Sequence[int], inside: Collection[str]) -> list[WeightSlices]:
        """Where the classes that go lie in initializers, but for those ``inside``."""
        return [
            WeightSlices(initializer=name, axis=axis, unit_indices=(where,))
            for (name, axis, _), where in self.places.of(np.asarray(gone, np.int64))
            if name not in inside
        ]

    def _gate(self, branch: Branch, key: str) -> Gate:
        names = self.graph.vertices
        return Gate(
            name=f"{key}/gate",
            edges=tuple((names[joint].name, tensor) for joint, tensor in branch.edges),
            dtype=self.graph.shapes.dtype[branch.edges[0][1]],
        )
