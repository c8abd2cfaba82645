"""Nodes out of order are put in order; nothing else is moved."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from graph_analysis.errors import ModelError
from graph_analysis.loading import load_model
from graph_analysis.ordering import sort_nodes
from graph_analysis.testing import HARD_CASES


def shuffled(name: str, seed: int) -> onnx.ModelProto:
    model = HARD_CASES[name]()
    nodes = list(model.graph.node)
    order = np.random.default_rng(seed).permutation(len(nodes))
    del model.graph.node[:]
    model.graph.node.extend([nodes[place] for place in order])
    return model


@pytest.mark.parametrize("name", ["residual_add", "fused_qkv", "if_captures_trunk", "if_nested"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_shuffled_graph_computes_the_same(name: str, seed: int) -> None:
    model = load_model(shuffled(name, seed).SerializeToString()).model
    plain = HARD_CASES[name]()
    rng = np.random.default_rng(0)
    feeds = {}
    for entry in plain.graph.input:
        shape = [dim.dim_value or 2 for dim in entry.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        feeds[entry.name] = rng.normal(size=shape).astype(dtype)
    expected = ReferenceEvaluator(plain).run(None, feeds)
    found = ReferenceEvaluator(model).run(None, feeds)
    assert all(np.array_equal(one, two) for one, two in zip(expected, found, strict=True))


def test_what_is_in_order_is_not_touched() -> None:
    for name in ("residual_add", "if_nested", "scan_rnn"):
        model = HARD_CASES[name]()
        assert not sort_nodes(model.graph)
        assert model == HARD_CASES[name]()


def test_a_cycle_is_left_and_refused() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xb"]
    model = helper.make_model(helper.make_graph(nodes, "cycle", value[:1], value[1:]))
    assert not sort_nodes(model.graph)
    with pytest.raises(ModelError) as error:
        load_model(model.SerializeToString())
    assert error.value.code == "model-not-sorted"
