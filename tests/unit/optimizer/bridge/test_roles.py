from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from optimizer.bridge.roles import trainable_initializers
from optimizer.bridge.scopes import prepare
from tests.unit.optimizer.bridge.onnx_models import floats, model_of


def _trainable(
    nodes: Sequence[tuple[str, Sequence[str], Sequence[str]]], **initializers: np.ndarray
) -> set[str]:
    built = [helper.make_node(op_type, inputs, outputs) for op_type, inputs, outputs in nodes]
    model = model_of(built, {"x": (2, 3)}, ["y"], initializers)
    return set(trainable_initializers(model.graph))


@pytest.mark.parametrize(
    ("op_type", "slots"),
    [
        ("Conv", {"a", "b"}),
        ("BatchNormalization", {"a", "b"}),
        ("LayerNormalization", {"a", "b"}),
        ("PRelu", {"a"}),
        ("Resize", set()),
        ("Clip", set()),
        ("Where", set()),
    ],
)
def test_slots_of_structural_operators(op_type: str, slots: set[str]) -> None:
    arrays = {name: floats(3) for name in "abcd"}
    assert _trainable([(op_type, ["x", *arrays], ["y"])], **arrays) == slots


def test_the_table_of_a_gather_and_both_sides_of_a_product() -> None:
    table, index = floats(5, 3), np.array([1])
    assert _trainable([("Gather", ["t", "i"], ["y"])], t=table, i=index) == {"t"}
    assert _trainable([("MatMul", ["w", "x"], ["y"])], w=table) == {"w"}


def test_weights_are_found_through_data_movement() -> None:
    nodes = [
        ("Transpose", ["w"], ["moved"]),
        ("Cast", ["moved"], ["cast"]),
        ("Concat", ["cast", "v"], ["both"]),
        ("MatMul", ["x", "both"], ["y"]),
    ]
    assert _trainable(nodes, w=floats(3, 3), v=floats(3, 3)) == {"w", "v"}


def test_computed_weights_train_what_they_are_computed_from_but_no_scalars() -> None:
    nodes = [
        ("Sub", ["w", "mean"], ["centred"]),
        ("Mul", ["centred", "gain"], ["scaled"]),
        ("Mul", ["scaled", "constant"], ["weight"]),
        ("Conv", ["x", "weight"], ["y"]),
    ]
    arrays = {"w": floats(4, 3, 1, 1), "mean": floats(4, 1, 1, 1), "gain": floats(4, 1, 1, 1)}
    found = _trainable(nodes, **arrays, constant=np.asarray(np.float32(2)))
    assert found == {"w", "mean", "gain"}


def test_elementwise_operands_with_more_than_one_element() -> None:
    nodes = [("Mul", ["x", "scale"], ["z"]), ("Add", ["z", "one"], ["y"])]
    assert _trainable(nodes, scale=floats(3), one=np.ones(1, np.float32)) == {"scale"}


def test_a_class_token_expanded_to_the_batch_is_trained() -> None:
    nodes = [
        ("Shape", ["x"], ["sizes"]),
        ("Expand", ["token", "sizes"], ["tokens"]),
        ("Concat", ["tokens", "x"], ["y"]),
    ]
    assert _trainable(nodes, token=floats(1, 3)) == {"token"}


def test_arithmetic_among_constants_alone_is_not_trained() -> None:
    nodes = [("Add", ["a", "b"], ["sum"]), ("Clip", ["x", "sum"], ["y"])]
    assert _trainable(nodes, a=floats(3), b=floats(3)) == set()


@pytest.mark.parametrize(
    ("mask", "is_trained"),
    [
        (np.array([[0, -np.inf], [0, 0]], np.float32), False),
        (np.array([[0, -3e38], [0, 0]], np.float32), False),
        (np.array([[0, -100], [0, 0]], np.float32), False),
        (np.array([[0, 1], [1, 1]], np.float32), False),
        (np.array([0, 1, 1], np.float32), True),
        (np.array([[0.5, 1], [1, 1]], np.float32), True),
    ],
)
def test_masks_are_not_trained(mask: np.ndarray, is_trained: bool) -> None:
    assert _trainable([("Add", ["x", "mask"], ["y"])], mask=mask) == (
        {"mask"} if is_trained else set()
    )


def test_integers_are_never_trained() -> None:
    assert _trainable([("Add", ["x", "i"], ["y"])], i=np.array([1, 2, 3])) == set()


def test_inside_a_body_a_variable_value_counts() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["z"], then_branch=body, else_branch=body),
        helper.make_node("Mul", ["z", "scale"], ["y"]),
    ]
    arrays = {"flag": np.array(True), "scale": floats(3)}
    model = model_of(nodes, {"x": (2, 3)}, ["y"], arrays)
    assert trainable_initializers(model.graph) == {"scale"}


def _loop_with_first_state(first: np.ndarray) -> frozenset[str]:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    graph (float[4] x, int64 n) => (float[4] y) {
        y = Loop <body: graph = b (int64 i, bool g, float[4] s) => (bool again, float[4] s2)
        { again = Identity (g) p = Mul (s, x) s2 = Tanh (p) }> (n, "", first) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(first, "first"))
    return trainable_initializers(prepare(model).flat)


def test_a_first_state_is_a_weight_if_it_was_learned() -> None:
    assert _loop_with_first_state(floats(4)) == {"first"}
    for number in (0.0, 1.0, -np.inf):
        assert _loop_with_first_state(np.full(4, number, np.float32)) == frozenset()


def test_a_state_varies_if_what_an_iteration_makes_of_it_does() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    graph (float[4] x, int64 n) => (float[4] y) <float[4] zeros = {0, 0, 0, 0}> {
        y = Loop <body: graph = b (int64 i, bool g, float[4] s) => (bool again, float[4] s2)
        { again = Identity (g) p = Add (s, bias) s2 = Mul (p, x) }> (n, "", zeros) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(floats(4), "bias"))
    assert trainable_initializers(prepare(model).flat) == {"bias"}
