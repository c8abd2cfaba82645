"""Removal structures as values: what is cut off where, what dies with it, what silences it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graph_analysis.masking import Gate
from graph_analysis.search_space import Group, WeightSlices
from graph_analysis.trace_graph import Edge


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A removal structure.

    Attributes:
        group: Its group; the one unit is the whole.
        edges: Joints and the tensors that they lose.
        vertices: Those that die with it; for a skip connection none.
        classes: Classes of positions that go with it at Concats.
        gates: What silences it in the masked form, beside its zero slices.
    """

    group: Group
    edges: frozenset[Edge]
    vertices: frozenset[int]
    classes: tuple[int, ...]
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A branch that cannot be erased exactly, or need not be, and why.

    Attributes:
        segment: Where it ends: id of the segment of its last vertex, or of the joint.
        reason: Why.
    """

    segment: str
    reason: str


def with_gates(group: Group, gates: Sequence[Gate]) -> Group:
    """The group with what closes its gates."""
    if not gates:
        return group
    closed = [WeightSlices(initializer=g.name, axis=0, unit_indices=((0,),)) for g in gates]
    return replace(group, masks=(*group.masks, *closed), masked=True)
