"""What a solution makes of every segment: gone, narrower, or as it was, and what it costs then."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from graph_analysis.pipeline import Analysis
from graph_analysis.segments import Segment
from graph_analysis.solution import Solution


class State(StrEnum):
    """What has become of a segment."""

    ERASED = "erased"  # none of its operators is left
    NARROWER = "narrower"  # something of it went
    WHOLE = "whole"


@dataclass(frozen=True, kw_only=True)
class SegmentOutcome:
    """One segment before and after a solution.

    Attributes:
        id: Of the segment.
        state: What has become of it.
        parameters: Weight elements that it reads, before and after.
        macs: Multiply-accumulates per sample, before and after.
    """

    id: str
    state: State
    parameters: tuple[int, int]
    macs: tuple[int, int]


def outcomes(analysis: Analysis, solution: Solution) -> Iterator[SegmentOutcome]:
    """One entry per segment, in the order of the model.

    A parameter that several segments read counts in each, so sums can exceed the whole model.
    """
    costs = analysis.costs
    nothing = np.zeros(len(analysis.classes.class_of) + 1, bool)
    gone, removed = analysis.gone(solution), analysis.survivors(solution).removed
    for segment in analysis.segments.segments:
        members = [member for piece in segment.pieces for member in piece.members]
        left = [member for member in members if member.index not in removed]
        elements = [costs.elements[name] for name in weights_of(analysis, segment)]
        before = sum(element.count(nothing) for element in elements)
        after = sum(element.count(gone) for element in elements) if left else 0
        macs_before, macs_after = (
            sum(p.count(marks) for member in some for p in costs.macs.get(member.index, ()))
            for some, marks in ((members, nothing), (left, gone))
        )
        is_less = len(left) < len(members) or after < before or macs_after < macs_before
        yield SegmentOutcome(
            id=segment.id,
            state=State.WHOLE if not is_less else State.NARROWER if left else State.ERASED,
            parameters=(before, after),
            macs=(macs_before, macs_after),
        )


def weights_of(analysis: Analysis, segment: Segment) -> list[str]:
    """Parameters that a segment reads, directly or computed from weights alone."""
    graph = analysis.graph
    stack = [n for p in segment.pieces for m in p.members for n in m.inputs]
    found: dict[str, None] = {}
    while stack:
        name = stack.pop()
        if name in analysis.costs.parameters:
            found[name] = None
        elif name in graph.weights and name in graph.producer:
            stack.extend(graph.vertices[graph.producer[name]].inputs)
    return list(found)
