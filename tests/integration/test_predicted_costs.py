"""All costs that are predicted for a solution, of every operator, against the cut file's own.

The cut file is loaded, inferred and counted from scratch; nothing of the prediction is known there.
"""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES
from graph_analysis.testing.random_networks import random_network
from graph_analysis.vertex_costs import vertex_costs
from tests.integration.golden import analysis_of, nothing_removed, random_solution

Row = tuple[str | int, ...]


def rows_of(analysis: Analysis, solution: Solution) -> list[Row]:
    """Every operator that costs anything; shape arithmetic may become superfluous with a cut,
    and an output may need a copy.
    """
    rows = [
        (row.op_type, row.macs, row.parameters, row.bytes, row.activation_bytes)
        for row in vertex_costs(analysis, solution)
    ]
    return [row for row in rows if any(row[1:]) and row[0] != "Identity"]


def assert_predicted(analysis: Analysis, solution: Solution) -> None:
    cut = shrink(analysis, solution)
    again = analyze(load_model(cut.SerializeToString()), options=analysis.options)
    nothing = nothing_removed(again)
    assert analysis.macs(solution) == again.macs(nothing)
    assert analysis.parameters(solution) == again.parameters(nothing)
    assert analysis.bytes(solution) == again.bytes(nothing)
    predicted = analysis.activation_bytes(solution)
    counted = again.activation_bytes(nothing)
    assert (predicted.total, predicted.peak) == (counted.total, counted.peak)
    assert len(predicted.unknown) == len(counted.unknown)
    assert rows_of(analysis, solution) == rows_of(again, nothing)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", HARD_CASES)
def test_predicted_is_what_the_cut_file_counts(name: str, seed: int) -> None:
    analysis = analysis_of(HARD_CASES[name]())
    assert_predicted(analysis, random_solution(analysis, seed))


@pytest.mark.parametrize("network", range(8))
def test_predicted_is_what_the_cut_random_network_counts(network: int) -> None:
    analysis = analysis_of(random_network(network, blocks=6))
    assert_predicted(analysis, random_solution(analysis, network))


@pytest.mark.parametrize("name", ["residual_add", "concat", "lstm_residual"])
def test_every_erased_structure_is_predicted(name: str) -> None:
    analysis = analysis_of(HARD_CASES[name]())
    single = [Solution.of(analysis.space, {key: (0,)}) for key in analysis.structure_by_id]
    valid = [solution for solution in single if not analysis.violations(solution)]
    assert valid
    for solution in valid:
        assert_predicted(analysis, solution)


def test_outputs_of_spliced_joints_are_copied_where_the_surgeon_copies_them() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(8, 8)).astype(np.float32) for _ in "uvw"]
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["a"]),
        helper.make_node("Add", ["x", "a"], ["y"]),  # without a: a copy of the input
        helper.make_node("Relu", ["y"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["b"]),
        helper.make_node("Add", ["r", "b"], ["z"]),  # without b: r takes the name
        helper.make_node("MatMul", ["r", "w"], ["c"]),
        helper.make_node("Add", ["c", "r"], ["q"]),  # without b and c: r has one name only
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 8]) for n in "yzq"],
        [numpy_helper.from_array(array, n) for array, n in zip(weights, "uvw", strict=True)],
    )
    opsets = [helper.make_opsetid("", 18)]
    analysis = analysis_of(helper.make_model(graph, opset_imports=opsets, ir_version=9))
    keys = list(analysis.structure_by_id)
    assert len(keys) == 3
    for chosen in (keys[:1], keys[1:2], keys[1:], keys):
        assert_predicted(analysis, Solution.of(analysis.space, dict.fromkeys(chosen, (0,))))
