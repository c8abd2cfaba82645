"""If, Loop and Scan at their limits: what is not cut says why, and what is not known stays."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.search_space import GroupKind
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder
from graph_analysis.testing.control_flow import BodyBuilder
from tests.integration.bodies import check_all, reasons, the_if, tokens, units
from tests.integration.golden import analysis_of


def test_a_scan_along_the_channels_keeps_them() -> None:
    graph, _, x = tokens()
    body = BodyBuilder("cell", seed=1)
    body.result(body.node("Tanh", body.take("slice")))
    steps = graph.node(
        "Scan",
        graph.relu(x),
        num_scan_inputs=1,
        scan_input_axes=[2],
        scan_output_axes=[2],
        body=body.graph(),
    )
    graph.output(graph.linear(steps, 24, 5), (BATCH, 8, 5))
    analysis = check_all(graph.build())
    assert units(analysis) == []
    assert "runs along it" in reasons(analysis)


def test_a_loop_over_the_channels_keeps_them() -> None:
    graph, _, x = tokens()
    count = graph.node("Squeeze", graph.node("Shape", x, start=2, end=3))
    body = BodyBuilder("body", seed=1)
    step = body.take("step", dtype=TensorProto.INT64)
    body.result(body.node("Identity", body.take("goes_on", dtype=TensorProto.BOOL)), dtype=9)
    body.result(body.node("Tanh", body.node("Gather", x, step, axis=2)))
    made = graph.node("Loop", count, "", body=body.graph())
    graph.output(graph.node("ReduceSum", made, graph.constant([0]), keepdims=0), (BATCH, 8))
    assert units(check_all(graph.build())) == []


def test_a_branch_that_is_a_constant_keeps_the_other() -> None:
    graph, condition, x = tokens()

    def write(body: BodyBuilder) -> str:
        values = np.random.default_rng(0).normal(size=(3, 8, 24)).astype(np.float32)
        return body.node("Constant", value=numpy_helper.from_array(values))

    chosen = the_if(graph, condition, write, graph.linear(graph.relu(x), 24, 24))
    graph.output(graph.linear(chosen, 24, 5), (BATCH, 8, 5))
    model = graph.build()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    analysis = check_all(model)
    assert units(analysis) == [24]
    assert "the other branch of" in reasons(analysis)


def nested(depth: int) -> onnx.ModelProto:
    graph, condition, x = tokens()
    hidden = graph.linear(graph.relu(x), 24, 20)

    def write(body: BodyBuilder, level: int) -> str:
        if level == depth:
            return body.linear(hidden, 20, 16)
        then = BodyBuilder(f"then{level}", seed=level)
        other = BodyBuilder(f"else{level}", seed=level + 50)
        then.result(write(then, level + 1))
        other.result(other.node("Tanh", other.linear(hidden, 20, 16)))
        return body.node("If", condition, then_branch=then.graph(), else_branch=other.graph())

    chosen = write(graph, 0)  # type: ignore[arg-type]
    graph.output(graph.linear(chosen, 16, 5), (BATCH, 8, 5))
    return graph.build()


def test_bodies_are_looked_into_down_to_a_depth() -> None:
    assert units(check_all(nested(8))) == [16, 20, 24]
    analysis = check_all(nested(9))
    assert units(analysis) == [24]
    assert "nested deeper than 8" in reasons(analysis)


def test_a_state_that_grows_says_so() -> None:
    analysis = analysis_of(HARD_CASES["loop_growing_state"]())
    assert "may change its shape between iterations" in reasons(analysis)


def test_branches_of_different_shapes_say_so() -> None:
    analysis = analysis_of(HARD_CASES["if_different_shapes"]())
    assert "its branches give different shapes" in reasons(analysis)


def test_bodies_form_no_structures_and_say_so() -> None:
    graph, condition, x = tokens()

    def write(body: BodyBuilder) -> str:
        branch = body.linear(body.relu(body.linear(x, 24, 32)), 32, 24)
        return body.node("Add", x, branch)

    chosen = the_if(graph, condition, write, x)
    graph.output(graph.linear(chosen, 24, 5), (BATCH, 8, 5))
    analysis = check_all(graph.build())
    assert {group.kind for group in analysis.space.groups} == {GroupKind.CHANNEL}
    reasons_given = [refused.reason for refused in analysis.refused]
    assert any(reason.startswith("lies in a body of 'if_") for reason in reasons_given)


def test_a_sequence_that_goes_round_stays() -> None:
    graph, _, x = tokens()
    body = BodyBuilder("body", seed=1)
    body.take("step", dtype=TensorProto.INT64)
    body.result(body.node("Identity", body.take("goes_on", dtype=TensorProto.BOOL)), dtype=9)
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    body._inputs.append(helper.make_value_info("state", kind))
    longer = body.node("SequenceInsert", "state", body.relu(x))
    body._outputs.append(helper.make_value_info(longer, kind))
    empty = graph.node("SequenceEmpty")
    last = graph.node("Loop", graph.constant(3), "", empty, body=body.graph())
    joined = graph.node("ConcatFromSequence", last, axis=1)
    graph.output(graph.node("ReduceMean", joined, axes=[1], keepdims=0), (BATCH, 24))
    assert units(check_all(graph.build())) == []


def test_a_count_from_data_and_results_that_nobody_takes() -> None:
    graph = GraphBuilder("counted_by_data")
    x = graph.linear(graph.input((BATCH, 12)), 12, 24)
    squares = graph.node("ReduceSumSquare", "x", keepdims=0)
    few = graph.node("Min", squares, graph.constant(3.0))
    count = graph.node("Cast", few, to=TensorProto.INT64)
    body = BodyBuilder("body", seed=1)
    body.take("step", dtype=TensorProto.INT64)
    body.result(body.node("Identity", body.take("goes_on", dtype=TensorProto.BOOL)), dtype=9)
    state = body.node("Tanh", body.linear(body.take("state"), 24, 24))
    body.result(state)
    body.result(body.linear(state, 24, 20))
    body.result(body.linear(state, 24, 16))
    _, steps, _ = graph.nodes("Loop", count, "", x, outputs=3, body=body.graph())
    summed = graph.node("ReduceSum", graph.linear(steps, 20, 4), graph.constant([0]), keepdims=0)
    graph.output(summed, (BATCH, 4))
    model = graph.build()
    analysis = check_all(model)
    assert units(analysis) == [16, 20, 24]
    (node,) = (node for node in model.graph.node if node.op_type == "Loop")
    node.output[0] = node.output[2] = ""  # valid, but more than ONNX Runtime's optimiser takes
    assert units(analysis_of(model)) == [16, 20, 24]
    assert analysis.space.model.macs >= 12 * 24 + 24 * (24 + 20 + 16)


def test_a_scan_over_what_has_no_known_shape_stays() -> None:
    graph, _, x = tokens()
    places = graph.node("NonZero", graph.node("Greater", x, graph.constant(0.0)))
    rows = graph.node("Cast", places, to=TensorProto.FLOAT)
    body = BodyBuilder("cell", seed=1)
    total = body.node("ReduceMean", body.take("slice"), keepdims=0)
    body.result(body.node("Add", total, body.node("ReduceMean", x, keepdims=0)), shape=())
    steps = graph.node("Scan", rows, num_scan_inputs=1, body=body.graph())
    hidden = graph.linear(graph.relu(x), 24, 16)
    scaled = graph.node("Mul", hidden, graph.node("ReduceMax", steps, keepdims=0))
    graph.output(graph.linear(scaled, 16, 5), (BATCH, 8, 5))
    analysis = check_all(graph.build())
    assert units(analysis) == []
    assert "shapes are unknown" in reasons(analysis)
