"""Shape arithmetic, evaluated."""

import numpy as np
from onnx import helper

from exporters.shape_values import SMALL, ShapeArithmetic
from tests.unit.exporters.graphs import node

I64 = np.int64


def evaluate(nodes, constants=None, shapes=None, opset: int = 17):
    arithmetic = ShapeArithmetic([helper.make_opsetid("", opset)], 8)
    return arithmetic.values(nodes, constants or {}, shapes or {})


def test_a_chain_from_a_shape_is_followed() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "c"),
        node("Unsqueeze", "c axes", "u"),
        node("Concat", "minus u", "target", axis=0),
    ]
    constants = {"one": I64(1), "axes": np.asarray([0]), "minus": np.asarray([-1])}
    known = evaluate(nodes, constants, {"x": (5, 7, 9)})
    assert known["target"].tolist() == [-1, 7]


def test_old_operator_forms_are_understood() -> None:
    nodes = [node("Shape", "x", "s"), node("Unsqueeze", "s", "u", axes=[0])]
    assert evaluate(nodes, shapes={"x": (5, 7)}, opset=11)["u"].tolist() == [[5, 7]]


def test_parts_of_a_shape_and_its_size() -> None:
    nodes = [node("Shape", "x", "s", start=1, end=-1), node("Size", "x", "n")]
    known = evaluate(nodes, shapes={"x": (5, 7, 9)}, opset=17)
    assert known["s"].tolist() == [7]
    assert known["n"] == 5 * 7 * 9


def test_several_outputs_and_left_out_ones() -> None:
    split = helper.make_node("Split", ["v"], ["", "b"], name="split", num_outputs=2)
    known = evaluate([split], {"v": np.asarray([1, 2])}, opset=18)
    assert "b" not in known or known["b"].tolist() == [2]


def test_what_depends_on_data_stays_unknown() -> None:
    nodes = [
        node("Relu", "x", "r"),
        node("Shape", "unknown", "s"),
        node("Add", "one x", "a"),
        helper.make_node("Own", ["one"], ["o"], domain="own"),
    ]
    assert set(evaluate(nodes, {"one": I64(1)})) == {"one"}


def test_what_fails_or_grows_stays_unknown() -> None:
    nodes = [
        node("Reshape", "two bad", "r"),
        node("ConstantOfShape", "huge", "z"),
    ]
    constants = {"two": np.asarray([1, 2]), "bad": np.asarray([3]), "huge": np.asarray([SMALL + 1])}
    assert set(evaluate(nodes, constants)) == set(constants)


def test_equal_operators_are_compiled_once() -> None:
    arithmetic = ShapeArithmetic([helper.make_opsetid("", 17)], 8)
    nodes = [node("Add", "a b", "c"), node("Add", "c b", "d")]
    known = arithmetic.values(nodes, {"a": I64(1), "b": I64(2)}, {})
    assert known["d"] == 5
    assert len(arithmetic._operators) == 1
