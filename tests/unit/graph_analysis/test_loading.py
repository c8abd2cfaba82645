"""Reading files: what is normalised, what is kept, and how bad files are refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.errors import ModelError
from graph_analysis.loading import load_model
from graph_analysis.testing import HARD_CASES


def small(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "model-empty"),
        (b"hello, this is text", "model-not-onnx"),
        (HARD_CASES["residual_add"]().SerializeToString()[:2000], "model-truncated"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "model-empty"),
    ],
)
def test_bad_files_are_refused_with_a_code(data: bytes, code: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(data)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone"):
        load_model(tmp_path / "gone.onnx")


def test_constants_become_initializers_and_identities_vanish() -> None:
    value = numpy_helper.from_array(np.ones(4, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=value),
        helper.make_node("Identity", ["w"], ["w2"]),
        helper.make_node("Add", ["x", "c"], ["h"]),
        helper.make_node("Mul", ["h", "w2"], ["y"]),
    ]
    loaded = load_model(small(nodes, {"w": np.arange(4, dtype=np.float32)}))
    assert [node.op_type for node in loaded.model.graph.node] == ["Add", "Mul"]
    assert {tensor.name for tensor in loaded.model.graph.initializer} == {"w", "c"}
    assert loaded.model.graph.node[1].input[1] == "w"
    assert len({node.name for node in loaded.model.graph.node}) == 2
    assert loaded.opset == 17


def test_merged_vectors_are_given_their_own_tensors_and_matrices_stay_tied() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "m"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("MatMul", ["c", "m"], ["d"]),
        helper.make_node("Add", ["d", "b"], ["y"]),
    ]
    weights = {"m": np.eye(4, dtype=np.float32), "b": np.zeros(4, np.float32)}
    loaded = load_model(small(nodes, weights))
    inputs = [node.input[1] for node in loaded.model.graph.node]
    assert inputs == ["m", "b", "m", "b__2"]
    assert loaded.copies == {"b__2": "b"}


def test_a_copy_never_takes_a_name_that_is_there() -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Add", ["d", "b__2"], ["y"]),
    ]
    weights = {"b": np.zeros(4, np.float32), "b__2": np.ones(4, np.float32)}
    loaded = load_model(small(nodes, weights))
    assert [node.input[1] for node in loaded.model.graph.node] == ["b", "b__2_2", "b__2"]
    assert loaded.copies == {"b__2_2": "b"}


def test_a_vector_with_different_values_was_shared_on_purpose() -> None:
    nodes = [helper.make_node("Mul", ["x", "s"], ["a"]), helper.make_node("Mul", ["a", "s"], ["y"])]
    loaded = load_model(small(nodes, {"s": np.arange(4, dtype=np.float32)}))
    assert [node.input[1] for node in loaded.model.graph.node] == ["s", "s"]
    assert loaded.copies == {}
