"""Axes that statistics are taken over stay, and so do samples that are paired with others."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze


def between_layers(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> Analysis:
    """``node`` from "a" to "b", [2, 4, 6, 8], between two MatMuls on the last axis."""
    rng = np.random.default_rng(0)
    arrays = {
        "before": rng.normal(size=(8, 8)).astype(np.float32),
        "behind": rng.normal(size=(8, 5)).astype(np.float32),
        **weights,
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "before"], ["a"]),
            node,
            helper.make_node("MatMul", ["b", "behind"], ["y"]),
        ],
        "between_layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4, 6, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4, 6, 5])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    return analyze(load_model(model.SerializeToString()))


def per_channel(names: str) -> dict[str, np.ndarray]:
    return {name: np.ones(4, np.float32) for name in names}


def test_an_axis_without_statistics_goes() -> None:
    analysis = between_layers(helper.make_node("Relu", ["a"], ["b"]), {})
    assert [group.units for group in analysis.space.groups] == [8]


def test_positions_of_a_normalisation_in_inference_form_go() -> None:
    node = helper.make_node("BatchNormalization", ["a", *"stmv"], ["b"])
    assert [g.units for g in between_layers(node, per_channel("stmv")).space.groups] == [8]


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("InstanceNormalization", ["a", "s", "b_"], ["b"]),
        helper.make_node("GroupNormalization", ["a", "s", "b_"], ["b"], num_groups=2),
        helper.make_node(
            "BatchNormalization", ["a", "s", "b_", "m", "v"], ["b", "m1", "v1"], training_mode=1
        ),
    ],
    ids=lambda node: node.op_type,
)
def test_positions_that_statistics_are_taken_over_stay(node: onnx.NodeProto) -> None:
    weights = {name: np.ones(4, np.float32) for name in node.input[1:]}
    analysis = between_layers(node, weights)
    assert analysis.space.groups == ()
    assert any("normalises over it" in entry.reason for entry in analysis.space.frozen)


def test_samples_of_an_attention_stay() -> None:
    keys = np.random.default_rng(1).normal(size=(2, 4, 3, 8)).astype(np.float32)
    node = helper.make_node("Attention", ["a", "k", "v"], ["b"])
    analysis = between_layers(node, {"k": keys, "v": keys + 1})
    cut = {(s.initializer, s.axis) for g in analysis.space.groups for s in g.cut}
    assert not cut & {("k", 0), ("v", 0)}
