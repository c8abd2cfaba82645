"""If, Loop and Scan: whatever is cut across the border of a body is cut exactly, or says why not.

Every comparison runs both branches of an If (the inputs and their negatives), with graph
optimisations off and on.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from exporters.masked import mask
from exporters.surgeon import shrink
from graph_analysis.bodies import graphs_of
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.testing import (
    BATCH,
    HARD_CASES,
    GraphBuilder,
    random_control_flow_network,
)
from graph_analysis.testing.control_flow import CASES, BodyBuilder
from tests.integration.bodies import (
    check,
    check_all,
    outcome,
    the_if,
    tokens,
    units,
)
from tests.integration.golden import analysis_of, random_solution

# The hard cases -----------------------------------------------------------------------------------

EXPECTED = {
    "if_captures_trunk": [16, 24],
    "if_conv_chains": [12, 16, 20, 24, 28],
    "if_shares_outer_weights": [16],
    "if_nested": [12, 16, 20, 24],
    "if_views_and_constants": [4, 20],
    "if_different_shapes": [16, 24],
    "if_in_loop": [24],
    "function_with_if": [16, 16],
    "loop_hidden_state": [24, 32],
    "loop_stacks": [20, 24],
    "loop_growing_state": [16],
    "scan_rnn": [16, 20, 24],
    "scan_batch_first": [16, 20],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_hard_cases_are_cut_on_both_sides_of_a_condition(name: str) -> None:
    assert units(check_all(HARD_CASES[name]())) == EXPECTED[name]


def test_no_hard_case_is_left_out() -> None:
    assert sorted(EXPECTED) == sorted(case.__name__ for case in CASES)


def all_bodies(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    own = [body for node in graph.node for _, body in graphs_of(node)]
    return own + [inner for body in own for inner in all_bodies(body)]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_body_is_run(name: str) -> None:
    """A change to a weight of any body must show, or the comparisons above prove nothing."""
    model = HARD_CASES[name]()
    for place in range(len(all_bodies(model.graph))):
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        body = all_bodies(changed.graph)[place]
        weights = [tensor for tensor in body.initializer if len(tensor.dims) > 1]
        if weights:
            values = numpy_helper.to_array(weights[-1]) * np.float32(1.01)
            weights[-1].CopyFrom(numpy_helper.from_array(values, weights[-1].name))
            assert outcome(model, changed), body.name


@pytest.mark.parametrize("name", ["if_conv_chains", "loop_hidden_state", "scan_rnn"])
def test_other_positions_fail(name: str) -> None:
    analysis = analysis_of(HARD_CASES[name]())
    for group in analysis.space.groups:
        right = Solution.of(analysis.space, {group.id: (3, 5)})
        wrong = Solution.of(analysis.space, {group.id: (3, 6)})
        assert outcome(mask(analysis, right), shrink(analysis, right)) == []
        assert outcome(mask(analysis, right), shrink(analysis, wrong)), group.id


@given(network=st.integers(0, 10_000), choice=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_masked_equals_cut_for_random_bodies(network: int, choice: int) -> None:
    model = random_control_flow_network(network)
    analysis = analysis_of(model)
    assert outcome(model, analysis.loaded.model) == []
    check(analysis, random_solution(analysis, choice))


# Where weights live -------------------------------------------------------------------------------


def test_what_lives_in_a_body_lives_there_after_the_cut() -> None:
    model = HARD_CASES["if_conv_chains"]()
    analysis = analysis_of(model)
    cut = shrink(analysis, random_solution(analysis, 0))
    for before, after in zip(model.graph.node, cut.graph.node, strict=True):
        for (_, one), (_, other) in zip(graphs_of(before), graphs_of(after), strict=True):
            assert [t.name for t in one.initializer] == [t.name for t in other.initializer]
            assert [n.name for n in one.node] == [n.name for n in other.node]
            assert [list(n.output) for n in one.node] == [list(n.output) for n in other.node]


def test_a_loop_counts_as_often_as_it_runs() -> None:
    analysis = analysis_of(HARD_CASES["loop_hidden_state"]())
    body = 24 * 24 + 24 * 32 + 32 * 24
    assert analysis.space.model.macs == 12 * 24 + 4 * body + 24 * 5


def test_both_branches_count() -> None:
    analysis = analysis_of(HARD_CASES["if_shares_outer_weights"]())
    assert analysis.space.model.macs == 64 * (3 * 16 * 9 + 2 * 16 * 16 * 9) + 16 * 10


# Across the border --------------------------------------------------------------------------------


def test_a_structure_outside_is_erased_where_a_body_adds_it() -> None:
    graph, condition, x = tokens()
    side = graph.linear(graph.relu(graph.linear(x, 24, 32)), 32, 24)
    chosen = the_if(graph, condition, lambda body: body.node("Add", side, x), x)
    graph.output(graph.linear(chosen, 24, 5), (BATCH, 8, 5))
    analysis = check_all(graph.build())
    (group,) = (g for g in analysis.space.groups if g.kind is GroupKind.OPERATOR)
    cut = check(analysis, Solution.of(analysis.space, {group.id: (0,)}))
    (node,) = (node for node in cut.graph.node if node.op_type == "If")
    then = next(body for name, body in graphs_of(node) if name == "then_branch")
    assert [inner.op_type for inner in then.node] == ["Identity"]  # no Add, and no outer output


def test_a_structure_outside_may_have_its_gate_before_a_body() -> None:
    graph, condition, x = tokens()
    side = graph.node("Sigmoid", graph.linear(x, 24, 24))
    chosen = the_if(graph, condition, lambda body: body.node("Add", side, x), x)
    graph.output(graph.linear(chosen, 24, 5), (BATCH, 8, 5))
    analysis = check_all(graph.build())
    (structure,) = analysis.structures
    assert structure.gates
    check(analysis, Solution.of(analysis.space, {structure.group.id: (0,)}))


def test_what_a_scan_hands_out_may_come_to_be_an_outer_tensor() -> None:
    graph, _, x = tokens()
    row = graph.node("ReduceSum", x, graph.constant([1]), keepdims=0)
    side = graph.linear(graph.relu(graph.linear(row, 24, 32)), 32, 24)
    body = BodyBuilder("cell", seed=1)
    body.take("slice")
    body.result(body.node("Add", side, row), shape=(BATCH, 24))
    attributes = {"scan_input_axes": [1], "scan_output_axes": [1]}
    steps = graph.node("Scan", x, num_scan_inputs=1, body=body.graph(), **attributes)
    graph._nodes[-1].doc_string = "kept"
    graph.output(graph.linear(steps, 24, 5), (BATCH, 8, 5))
    analysis = check_all(graph.build())
    group = next(g for g in analysis.space.groups if g.kind is GroupKind.OPERATOR)
    cut = check(analysis, Solution.of(analysis.space, {group.id: (0,)}))
    (node,) = (node for node in cut.graph.node if node.op_type == "Scan")
    assert node.doc_string == "kept"
    ((_, inside),) = graphs_of(node)
    assert [inner.op_type for inner in inside.node] == ["Identity"]


def test_operators_in_a_body_may_leave_outputs_out() -> None:
    graph, condition, x = tokens(width=16)

    def write(body: BodyBuilder) -> str:
        turned = body.transpose(x, (1, 0, 2))
        w, r = body.weight(1, 48, 16, scale=0.25), body.weight(1, 48, 12, scale=0.25)
        steps, last = body.nodes("LSTM", turned, w, r, outputs=2, hidden_size=12)
        body._nodes[-1].output[0] = ""
        state = body.node(
            "Unsqueeze", body.node("Squeeze", last, body.constant([0])), body.constant([1])
        )
        assert steps
        return body.linear(body.node("Expand", state, body.constant([1, 8, 1])), 12, 16)

    graph.output(graph.linear(the_if(graph, condition, write, x), 16, 5), (BATCH, 8, 5))
    assert units(check_all(graph.build())) == [12, 16]


def test_norms_in_a_branch_are_masked() -> None:
    graph, condition, x = tokens()

    def write(body: BodyBuilder) -> str:
        scale, shift = body.weight(24, shift=1.0), body.weight(24, scale=0.3)
        normed = body.node("LayerNormalization", x, scale, shift, axis=-1)
        return body.node("Add", body.node("Softmax", normed, axis=-1), normed)

    chosen = the_if(graph, condition, write, x)
    graph.output(graph.linear(chosen, 24, 5), (BATCH, 8, 5))
    analysis = check_all(graph.build())
    assert [(g.units, g.masked) for g in analysis.space.groups] == [(24, True)]


def test_bounds_and_sizes_in_a_branch_are_rewritten() -> None:
    graph, condition, x = tokens()

    def write(body: BodyBuilder) -> str:
        left, right = body.nodes("Split", x, outputs=2, axis=2)
        part = body.slice(x, [2], [4], ends=[16])
        size = body.node("Concat", body.node("Shape", part, start=0, end=2), "width", axis=0)
        viewed = body.node("Reshape", part, size)
        return body.node("Concat", right, body.node("Tanh", viewed), left, axis=2)

    graph._initializers.append(numpy_helper.from_array(np.array([12], np.int64), "width"))
    chosen = the_if(graph, condition, write, graph.linear(graph.relu(x), 24, 36))
    graph.output(graph.linear(chosen, 36, 5), (BATCH, 8, 5))
    assert units(check_all(graph.build()))


def test_results_are_stacked_along_any_axis() -> None:
    graph = GraphBuilder("stacked_last")
    x = graph.relu(graph.linear(graph.input((BATCH, 6, 12)), 12, 20))
    body = BodyBuilder("cell", seed=1)
    body.result(body.node("Tanh", body.linear(body.take("slice"), 20, 16)))
    attributes = {"scan_input_axes": [-2], "scan_output_axes": [-1]}
    steps = graph.node("Scan", x, num_scan_inputs=1, body=body.graph(), **attributes)
    graph.output(graph.linear(graph.transpose(steps, (0, 2, 1)), 16, 4), (BATCH, 6, 4))
    assert units(check_all(graph.build())) == [16, 20]


@pytest.mark.parametrize(("op_type", "is_masked"), [("Tanh", False), ("Sigmoid", True)])
def test_an_if_is_zero_where_both_branches_are(op_type: str, is_masked: bool) -> None:
    graph, condition, x = tokens()

    def write(body: BodyBuilder) -> str:
        return body.node(op_type, body.linear(x, 24, 16))

    chosen = the_if(graph, condition, write, graph.linear(graph.relu(x), 24, 16))
    total = graph.node("ReduceSum", chosen, graph.constant([2]), keepdims=0)
    graph.output(graph.linear(total, 8, 5), (BATCH, 5))
    analysis = check_all(graph.build())
    assert {g.units: g.masked for g in analysis.space.groups} == {24: False, 16: is_masked}


def test_what_a_loop_puts_out_may_be_summed() -> None:
    graph = GraphBuilder("summed")
    x = graph.linear(graph.input((BATCH, 12)), 12, 24)
    body = BodyBuilder("body", seed=1)
    body.take("step", dtype=TensorProto.INT64)
    body.result(body.node("Identity", body.take("goes_on", dtype=TensorProto.BOOL)), dtype=9)
    state = body.node("Tanh", body.linear(body.take("state"), 24, 24))
    body.result(state)
    body.result(body.node("Tanh", body.linear(state, 24, 20)))
    last, steps = graph.nodes("Loop", graph.constant(3), "", x, outputs=2, body=body.graph())
    one = graph.node("ReduceSum", last, graph.constant([1]), keepdims=1)
    other = graph.node("ReduceSum", steps, graph.constant([0, 2]), keepdims=0)
    other = graph.node("Unsqueeze", other, graph.constant([1]))
    graph.output(graph.linear(graph.node("Concat", one, other, axis=1), 2, 5), (BATCH, 5))
    analysis = check_all(graph.build())
    # the state of the next iteration could be anything, as far as is known
    assert {g.units: g.masked for g in analysis.space.groups} == {24: True, 20: False}


def test_two_loops_with_the_same_names() -> None:
    graph = GraphBuilder("two_loops")
    x = graph.linear(graph.input((BATCH, 12)), 12, 24)
    for seed in range(2):
        body = BodyBuilder("body", seed=seed)
        body.take("step", dtype=TensorProto.INT64)
        body.result(body.take("goes_on", dtype=TensorProto.BOOL), dtype=TensorProto.BOOL)
        body.result(body.node("Tanh", body.linear(body.take("state"), 24, 24)))
        x = graph.node("Loop", graph.constant(3), "", x, body=body.graph())
    graph.output(graph.linear(x, 24, 5), (BATCH, 5))
    assert units(check_all(graph.build())) == [24]


def test_a_state_that_begins_as_a_weight_is_no_weight() -> None:
    graph = GraphBuilder("learned_state")
    x = graph.linear(graph.input((BATCH, 12)), 12, 24)
    body = BodyBuilder("body", seed=1)
    body.take("step", dtype=TensorProto.INT64)
    body.result(body.node("Identity", body.take("goes_on", dtype=TensorProto.BOOL)), dtype=9)
    state = body.take("state")
    pooled = body.node("ReduceMean", x, axes=[0], keepdims=1)
    body.result(body.node("Tanh", body.node("Add", body.linear(state, 24, 24), pooled)))
    first = graph.weight(1, 24)
    last = graph.node("Loop", graph.constant(3), "", first, body=body.graph())
    graph.output(graph.linear(graph.node("Mul", last, x), 24, 5), (BATCH, 5))
    analysis = check_all(graph.build())
    assert units(analysis) == [24]
    assert first in analysis.graph.weights
    assert not {"state", last} & analysis.graph.weights


def test_a_loop_that_ends_by_its_own_condition() -> None:
    graph = GraphBuilder("while")
    x = graph.linear(graph.input((BATCH, 12)), 12, 24)
    goes_on = numpy_helper.from_array(np.array(True), "always")
    graph._initializers.append(goes_on)
    body = BodyBuilder("body", seed=1)
    step = body.take("step", dtype=TensorProto.INT64)
    body.take("goes_on", dtype=TensorProto.BOOL)
    state = body.node("Tanh", body.linear(body.take("state"), 24, 24))
    total = body.node("ReduceSum", "x", keepdims=0)
    enough = body.node("Less", body.node("Cast", step, to=TensorProto.FLOAT), total)
    body.result(enough, dtype=TensorProto.BOOL)
    body.result(state)
    body.result(body.linear(state, 24, 20))
    last, steps = graph.nodes("Loop", graph.constant(6), "always", x, outputs=2, body=body.graph())
    graph.output(graph.linear(last, 24, 5), (BATCH, 5))
    pooled = graph.node("ReduceSum", graph.linear(steps, 20, 4), graph.constant([0]), keepdims=0)
    graph.output(pooled, (BATCH, 4))
    analysis = check_all(graph.build())
    assert units(analysis) == [20, 24]
    assert analysis.space.model.macs < 12 * 24 + 2 * 24 * (24 + 20) + 24 * 5 + 20 * 4 * 6
