"""Bodies laid out flat and put back: nothing is lost or renamed, and what cannot be is left."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.bodies import (
    CONTROL,
    MAX_NODES,
    Bodies,
    flatten,
    graphs_of,
    has_bodies,
)
from graph_analysis.folding import fold
from graph_analysis.loading import load_model
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder
from graph_analysis.testing.control_flow import CASES, BodyBuilder

WITHOUT_FUNCTIONS = [case.__name__ for case in CASES if case.__name__ != "function_with_if"]


def an_if(
    then: BodyBuilder, other: BodyBuilder, *, outputs: int = 1, **attributes: object
) -> onnx.ModelProto:
    graph = GraphBuilder("an_if")
    x = graph.input((BATCH, 4))
    positive = graph.node("Greater", graph.node("ReduceSum", x, keepdims=0), graph.constant(0.0))
    made = graph.nodes(
        "If",
        positive,
        outputs=outputs,
        then_branch=then.graph(),
        else_branch=other.graph(),
        **attributes,
    )
    graph.output(made[0], (BATCH, 4))
    return graph.build()


def branches(*tensors: str) -> tuple[BodyBuilder, BodyBuilder]:
    """Two branches that double the input, and hand out further copies of it."""
    pair = BodyBuilder("then", seed=1), BodyBuilder("else", seed=2)
    for body in pair:
        body.result(body.node("Add", "x", "x"))
        for tensor in tensors:
            body.result(body.node("Identity", tensor))
    return pair


@pytest.mark.parametrize("name", WITHOUT_FUNCTIONS)
def test_putting_back_what_was_laid_out_gives_the_same_model(name: str) -> None:
    model = HARD_CASES[name]()
    before = model.SerializeToString(deterministic=True)
    flat, bodies = flatten(model)
    assert not has_bodies(flat.graph)
    names = [name for node in flat.graph.node for name in node.output if name]
    assert len(names) == len(set(names))
    assert len({node.name for node in flat.graph.node}) == len(flat.graph.node)
    assert fold(flat, bodies).SerializeToString(deterministic=True) == before
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("case", CASES)
def test_the_working_copy_has_its_bodies(case: Callable[[], onnx.ModelProto]) -> None:
    loaded = load_model(case().SerializeToString())
    assert has_bodies(loaded.model.graph)
    onnx.checker.check_model(loaded.model, full_check=True)
    assert not any(node.domain == CONTROL for node in loaded.model.graph.node)


def test_a_model_without_bodies_is_its_own_flat_view() -> None:
    loaded = load_model(HARD_CASES["residual_add"]().SerializeToString())
    assert loaded.flat is loaded.model
    assert loaded.bodies == Bodies()


def test_constants_of_a_body_become_its_initializers() -> None:
    loaded = load_model(HARD_CASES["if_views_and_constants"]().SerializeToString())
    (node,) = (node for node in loaded.model.graph.node if node.op_type == "If")
    then = dict(graphs_of(node))["then_branch"]
    assert "Constant" not in [inner.op_type for inner in then.node]
    assert {"then_constant_0", "then_constant_6"} <= {t.name for t in then.initializer}


def test_equal_names_in_two_branches_are_told_apart_and_given_back() -> None:
    flat, bodies = flatten(HARD_CASES["if_conv_chains"]())
    assert bodies.tensor_names["body_weight_0__2"] == "body_weight_0"
    assert bodies.node_names["body_conv_0__2"] == "body_conv_0"
    (node,) = (n for n in fold(flat, bodies).graph.node if n.op_type == "If")
    for _, body in graphs_of(node):
        assert body.node[0].name == "body_conv_0"


def test_nodes_without_names_get_none_in_the_file() -> None:
    model = an_if(*branches())
    for node in model.graph.node:
        for _, body in graphs_of(node):
            for inner in body.node:
                inner.ClearField("name")
    flat, bodies = flatten(model)
    assert all(node.name for node in flat.graph.node)
    assert fold(flat, bodies) == model


def test_outputs_that_are_left_out_stay_left_out() -> None:
    model = an_if(*branches("x", "x"), outputs=3)
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    node.output[1] = ""
    del node.output[2:]
    flat, bodies = flatten(model)
    assert len(flat.graph.node[-1].input) == 7
    (back,) = (n for n in fold(flat, bodies).graph.node if n.op_type == "If")
    assert list(back.output) == ["if_2_0", ""]
    assert list(back.input) == list(node.input)


def test_a_body_output_from_outside_gets_an_identity() -> None:
    flat, bodies = flatten(an_if(*branches()))
    flat.graph.node[-1].input[1] = "x"
    (node,) = (n for n in fold(flat, bodies).graph.node if n.op_type == "If")
    (_, body), _ = graphs_of(node)
    assert [(inner.op_type, list(inner.input)) for inner in body.node[1:]] == [("Identity", ["x"])]
    assert body.output[0].name == body.node[-1].output[0]


def test_a_new_node_goes_where_its_inputs_are_made() -> None:
    flat, bodies = flatten(HARD_CASES["if_nested"]())
    place = next(n for n, node in enumerate(flat.graph.node) if node.name == "inner_conv_0")
    made = flat.graph.node[place].output[0]
    nodes = list(flat.graph.node)
    nodes.insert(place + 1, helper.make_node("Add", [made, "x"], ["new"], name="new"))
    del flat.graph.node[:]
    flat.graph.node.extend(nodes)
    outer = next(n for n in fold(flat, bodies).graph.node if n.op_type == "If")
    then = dict(graphs_of(outer))["then_branch"]
    inner = next(node for node in then.node if node.op_type == "If")
    (_, body), _ = graphs_of(inner)
    assert [n.name for n in body.node][:2] == ["inner_conv_0", "new"]


def left(model: onnx.ModelProto) -> str:
    """Why the one node with bodies was left as it is."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"n{index}"
    flat, bodies = flatten(model)
    assert has_bodies(flat.graph)
    assert fold(flat, bodies) is flat
    (reason,) = bodies.left_whole.values()
    return reason


def test_what_cannot_be_laid_out_says_why() -> None:
    then, other = branches()
    model = an_if(then, other)
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    node.attribute[0].g.sparse_initializer.add().dims.append(4)
    assert left(model) == "a body holds a sparse weight"

    model = an_if(*branches())
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    more = [helper.make_node("Identity", ["x"], [f"y{i}"]) for i in range(MAX_NODES)]
    node.attribute[0].g.node.extend(more)
    assert left(model) == f"bodies hold more than {MAX_NODES} nodes"

    model = an_if(*branches())
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    node.op_type = "SequenceMap"
    assert left(model) == "the body of a 'SequenceMap' is not looked into"

    graphs = helper.make_attribute("bodies", [body.graph() for body in branches()])
    node.attribute.append(graphs)
    node.domain = "elsewhere"
    assert left(model) == "the body of a 'SequenceMap' is not looked into"

    model = an_if(*branches())
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    del node.attribute[0].g.output[:]
    assert left(model) == "its body does not fit its inputs and outputs"

    model = HARD_CASES["loop_stacks"]()
    (node,) = (node for node in model.graph.node if node.op_type == "Loop")
    del node.input[1:]
    assert left(model) == "its body does not fit its inputs and outputs"

    model = HARD_CASES["scan_rnn"]()
    model.opset_import[0].version = 8
    assert left(model) == "the batched Scan of opset 8 is not looked into"


def counted(body: onnx.GraphProto) -> int:
    graph = onnx.ModelProto()
    graph.opset_import.append(helper.make_opsetid("", 17))
    node = helper.make_node("Loop", ["count", "", "x"], ["y"], name="loop", body=body)
    graph.graph.node.append(node)
    flat, _ = flatten(graph)
    return next(a.i for a in flat.graph.node[-1].attribute if a.name == "is_counted")


@pytest.mark.parametrize(
    ("maker", "expected"), [("same", 1), ("true", 1), ("weight", 1), ("false", 0), ("data", 0)]
)
def test_a_loop_is_counted_if_its_condition_does_not_change(maker: str, expected: int) -> None:
    body = BodyBuilder("body", seed=0)
    step = body.take("step", dtype=TensorProto.INT64)
    goes_on = body.take("goes_on", dtype=TensorProto.BOOL)
    state = body.take("state")
    value = numpy_helper.from_array(np.array(maker != "false"), "value")
    body._initializers.append(value)
    made = {
        "same": lambda: body.node("Identity", goes_on),
        "true": lambda: body.node("Constant", value=value),
        "false": lambda: body.node("Constant", value=value),
        "weight": lambda: "value",
        "data": lambda: body.node("Less", step, step),
    }[maker]()
    body.result(made, dtype=TensorProto.BOOL)
    body.result(state)
    assert counted(body.graph()) == expected
