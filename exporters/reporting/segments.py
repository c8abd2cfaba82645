"""Segments in a report: operators, neighbours, and what a solution has left of them."""

from collections.abc import Sequence
from typing import Any

from graph_analysis.outcome import outcomes
from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution


def describe(analysis: Analysis, solution: Solution) -> Sequence[dict[str, Any]]:
    """One JSON-compatible entry per segment, in the order of the model."""
    entries = zip(analysis.space.segments, outcomes(analysis, solution), strict=True)
    return [
        {
            "id": segment.id,
            "vertices": list(segment.vertices),
            "inputs": list(segment.inputs),
            "outputs": list(segment.outputs),
            "joint": segment.joint,
            "state": outcome.state.value,
            "parameters": {"before": outcome.parameters[0], "after": outcome.parameters[1]},
            "macs": {"before": outcome.macs[0], "after": outcome.macs[1]},
        }
        for segment, outcome in entries
    ]
