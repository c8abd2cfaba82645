"""The structures of the paper (PAPER.md 1.2) on a segment graph of ours, and where ours has them.

The paper's rule sees segments only: one that holds a trainable variable, and whose last vertex
feeds nothing but joints. Ours cuts edges, so the same structure is the one that cuts exactly the
edges which leave the segment's last vertex; whatever else dies with it is listed with it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from graph_analysis.branches import DROPPING
from graph_analysis.pipeline import Analysis
from graph_analysis.segments import Segment
from graph_analysis.structures import Structure
from graph_analysis.trace_graph import Edge


@dataclass(frozen=True, kw_only=True)
class Found:
    """A structure of the paper among ours.

    Attributes:
        segment: The paper's: one segment.
        structure: Ours that cuts it off, or None.
        reason: Why there is none, in the words of the analysis.
    """

    segment: Segment
    structure: Structure | None
    reason: str | None

    @property
    def vertices(self) -> tuple[str, ...]:
        """Names of the segment's nodes, in order."""
        return names_of(self.segment)


def names_of(segment: Segment) -> tuple[str, ...]:
    """Names of a segment's nodes, in order."""
    return tuple(member.name for piece in segment.pieces for member in piece.members)


def paper_segments(analysis: Analysis) -> list[Segment]:
    """Segments that are removal structures by the paper's rule, in the order of the graph."""
    segments = analysis.segments
    return [
        segment
        for segment in segments.segments
        if not segment.joint
        and segment.outputs
        and segment.pieces[-1].output not in analysis.graph.outputs
        and all(segments.by_id[after].joint for after in segment.outputs)
        and _is_trainable(analysis, segment)
    ]


def paper_structures(analysis: Analysis) -> list[Found]:
    """Every structure of the paper beside ours, or beside the reason why ours refuses it."""
    ours: Mapping[frozenset[Edge], Structure] = {s.edges: s for s in analysis.structures}
    reasons = {refused.segment: refused.reason for refused in analysis.refused}
    found = []
    for segment in paper_segments(analysis):
        tensor = segment.pieces[-1].output
        edges = frozenset((index, tensor) for index, _ in analysis.graph.consumers[tensor])
        structure = ours.get(edges)
        reason = None if structure else reasons.get(segment.id) or _at_joints(analysis, edges)
        found.append(Found(segment=segment, structure=structure, reason=reason))
    return found


def _at_joints(analysis: Analysis, edges: Collection[Edge]) -> str | None:
    """Which joints of ``edges`` do not go on without an input."""
    vertices = [analysis.graph.vertices[index] for index, _ in sorted(edges)]
    kinds = sorted({vertex.op_type for vertex in vertices} - DROPPING)
    return f"ends at {', '.join(kinds)}" if kinds else None


def num_vertices(analysis: Analysis) -> int:
    """Traced vertices: what lies in segments, fused ones counted one by one."""
    return sum(len(names_of(segment)) for segment in analysis.segments.segments)


def num_edges(segments: Sequence[Segment]) -> int:
    """Edges between segments."""
    return sum(len(segment.outputs) for segment in segments)


def _is_trainable(analysis: Analysis, segment: Segment) -> bool:
    names = (name for p in segment.pieces for member in p.members for name in member.inputs)
    return any(name in analysis.costs.parameters for name in names)
