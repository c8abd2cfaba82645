"""The float32 twin of a half-precision model."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.precision import is_half, widened
from tests.unit.exporters.graphs import build, node, residual_concat


def test_single_precision_comes_back_equal() -> None:
    model = residual_concat().loaded.model
    assert not is_half(model)
    assert widened(model) == model


def test_every_half_type_is_replaced_in_bodies_and_attributes_too() -> None:
    for half in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        body = helper.make_graph(
            [helper.make_node("Cast", ["c"], ["o"], to=half)],
            "b",
            [],
            [helper.make_tensor_value_info("o", half, [1])],
            [helper.make_tensor("inner", half, [1], [1.0])],
        )
        nodes = [
            node("Constant", "", "k", value=helper.make_tensor("", half, [1], [2.5])),
            node("Cast", "k", "c", to=half),
            helper.make_node("If", ["f"], ["y"], name="if", then_branch=body, else_branch=body),
        ]
        nodes[0].ClearField("input")
        model = helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info("f", TensorProto.BOOL, [])],
                [helper.make_tensor_value_info("y", half, [1])],
                [helper.make_tensor("w", half, [1], [0.5])],
            )
        )

        twin = widened(model)

        assert is_half(model)
        assert not is_half(twin)
        assert "FLOAT16" not in onnx.printer.to_text(twin).upper()
        onnx.checker.check_model(twin, full_check=True)
        assert numpy_helper.to_array(twin.graph.initializer[0]) == np.float32(0.5)


def test_integers_that_look_like_a_type_number_stay() -> None:
    model = build({"x": ["n", 16]}, {"y": ["n", 16]}, [node("Concat", "x", "y", axis=1)], {})
    assert widened(model) == model
