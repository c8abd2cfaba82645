"""Activation memory by hand: what counts, how long it lives, and what a removal leaves."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis import Analysis, AnalysisOptions, Solution, analyze, load_model
from graph_analysis.testing import HARD_CASES
from graph_analysis.vertex_costs import vertex_costs


def model_of(
    nodes: list[onnx.NodeProto], outputs: list[str], *, length: int = 10, dtype: int = 1
) -> onnx.ModelProto:
    weight = np.ones((length, length), np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, ["batch", length])],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def analysis_of(model: onnx.ModelProto, **options: object) -> Analysis:
    chosen = AnalysisOptions(**options)  # type: ignore[arg-type]
    return analyze(load_model(model.SerializeToString()), options=chosen)


def nothing(analysis: Analysis) -> Solution:
    return Solution.of(analysis.space, {})


def test_a_tensor_lives_from_its_producer_to_its_last_reader() -> None:
    model = model_of(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Neg", ["b"], ["c"]),
            helper.make_node("Add", ["a", "c"], ["y"]),
        ],
        ["y"],
    )
    found = analysis_of(model)
    memory = found.activation_bytes(nothing(found))
    assert memory.by_vertex == {0: 40, 1: 40, 2: 40, 3: 40}
    assert memory.total == 160
    assert memory.peak == 120  # Neg runs while Add waits for a: a, b, c
    assert memory.unknown == ()


def test_inputs_live_from_the_start_and_outputs_to_the_end() -> None:
    model = model_of(
        [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("Neg", ["x"], ["b"]),
            helper.make_node("Abs", ["b"], ["c"]),
            helper.make_node("Exp", ["c"], ["y"]),
        ],
        ["a", "y"],
    )
    found = analysis_of(model)
    # while Neg runs x, a and b are there; x goes then, a stays to the end
    assert found.activation_bytes(nothing(found)).peak == 120


def test_element_types_and_given_lengths_count() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.DOUBLE),
        helper.make_node("Greater", ["a", "a"], ["y"]),
    ]
    model = model_of(nodes, ["y"], dtype=TensorProto.FLOAT16)
    found = analysis_of(model)
    assert found.activation_bytes(nothing(found)).by_vertex == {0: 80, 1: 10}
    assert found.activation_bytes(nothing(found)).peak == 100
    larger = analysis_of(model, input_shapes={"x": (4, 10)})
    assert larger.activation_bytes(nothing(larger)).by_vertex == {0: 320, 1: 40}


def test_weights_and_shape_arithmetic_are_no_activations() -> None:
    model = model_of(
        [
            helper.make_node("Transpose", ["w"], ["t"]),
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("MatMul", ["x", "t"], ["a"]),
            helper.make_node("Reshape", ["a", "s"], ["y"]),
        ],
        ["y"],
    )
    found = analysis_of(model)
    memory = found.activation_bytes(nothing(found))
    by_name = {found.graph.vertices[i].op_type: size for i, size in memory.by_vertex.items()}
    assert by_name == {"Transpose": 0, "Shape": 0, "MatMul": 40, "Reshape": 40}


def test_tensors_of_unknown_shape_are_named() -> None:
    model = model_of(
        [
            helper.make_node("NonZero", ["x"], ["n"]),
            helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT),
        ],
        ["y"],
    )
    found = analysis_of(model)
    assert set(found.activation_bytes(nothing(found)).unknown) == {"n", "y"}


@pytest.mark.parametrize("name", ["residual_add", "concat", "fused_qkv", "lstm_2layer_bidir"])
def test_costs_of_operators_add_up(name: str) -> None:
    found = analysis_of(HARD_CASES[name]())
    for group in found.space.groups:
        solution = Solution.of(found.space, {group.id: (0,)})
        rows = vertex_costs(found, solution)
        assert sum(row.macs for row in rows) == found.macs(solution)
        assert sum(row.parameters for row in rows) == found.parameters(solution)
        assert sum(row.bytes for row in rows) == found.bytes(solution)
        written = sum(row.activation_bytes for row in rows)
        assert written == found.activation_bytes(solution).total
