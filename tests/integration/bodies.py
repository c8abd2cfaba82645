"""Shared by the tests of If, Loop and Scan: exactness on both sides of every condition.

Every comparison runs both branches of an If (the inputs and their negatives), with graph
optimisations off and on.
"""

from collections.abc import Callable

import onnx
import onnxruntime as ort

from exporters.masked import mask
from exporters.surgeon import shrink
from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution
from graph_analysis.testing import BATCH, GraphBuilder
from graph_analysis.testing.control_flow import BodyBuilder
from tests.integration.golden import (
    Feeds,
    Outputs,
    analysis_of,
    differences,
    feeds_of,
    nothing_removed,
    random_solution,
)

LEVELS = (
    ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
)


def outputs(model: onnx.ModelProto, feeds: Feeds, level: ort.GraphOptimizationLevel) -> Outputs:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def both_signs(model: onnx.ModelProto) -> list[Feeds]:
    """Inputs for which a condition on their sum is true, and inputs for which it is not."""
    drawn = [feeds_of(model, batch, seed) for seed, batch in enumerate((3, 1, 2))]
    return drawn + [{name: -values for name, values in feeds.items()} for feeds in drawn]


def outcome(masked: onnx.ModelProto, cut: onnx.ModelProto) -> list[str]:
    return [
        difference
        for level in LEVELS
        for feeds in both_signs(masked)
        for difference in differences(outputs(masked, feeds, LEVELS[0]), outputs(cut, feeds, level))
    ]


def check(analysis: Analysis, solution: Solution) -> onnx.ModelProto:
    """Masked == cut on both sides of every condition, and predicted == counted."""
    cut = shrink(analysis, solution)
    onnx.checker.check_model(cut, full_check=True)
    assert outcome(mask(analysis, solution), cut) == [], solution.to_json()
    again = analysis_of(cut)
    assert again.macs(nothing_removed(again)) == analysis.macs(solution)
    assert again.parameters(nothing_removed(again)) == analysis.parameters(solution)
    return cut


def check_all(model: onnx.ModelProto) -> Analysis:
    """Nothing, every group alone, and random solutions."""
    analysis = analysis_of(model)
    assert outcome(model, check(analysis, nothing_removed(analysis))) == []
    for group in analysis.space.groups:
        solution = Solution.of(analysis.space, {group.id: (group.units - 1,)})
        if not analysis.violations(solution):
            check(analysis, solution)
    for seed in range(4):
        check(analysis, random_solution(analysis, seed))
    return analysis


def units(analysis: Analysis) -> list[int]:
    return sorted(group.units for group in analysis.space.groups if group.units > 1)


def reasons(analysis: Analysis) -> str:
    return "\n".join(entry.reason for entry in analysis.space.frozen)


def the_if(
    graph: GraphBuilder, condition: str, write: Callable[[BodyBuilder], str], other: str
) -> str:
    """An If with a then-branch by ``write``, and a copy of ``other`` for the else-branch."""
    then, copy = BodyBuilder("then", seed=7), BodyBuilder("else", seed=8)
    then.result(write(then))
    copy.result(copy.node("Identity", other))
    return graph.node("If", condition, then_branch=then.graph(), else_branch=copy.graph())


def tokens(width: int = 24) -> tuple[GraphBuilder, str, str]:
    """A graph, a condition on its input, and the input's linear image of a given width."""
    graph = GraphBuilder("tokens")
    x = graph.input((BATCH, 8, 12))
    condition = graph.node("Greater", graph.node("ReduceSum", x, keepdims=0), graph.constant(0.0))
    return graph, condition, graph.linear(x, 12, width)
