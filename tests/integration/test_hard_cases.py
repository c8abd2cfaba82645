"""The builders of tiny models: valid, runnable, the same every time, and no two positions equal."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder, random_network


def run(model: onnx.ModelProto, batch: int) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        entry.name: rng.integers(0, 8, (batch, *entry.shape[1:])).astype(entry.type[7:-1])
        if "int" in entry.type
        else rng.normal(size=(batch, *entry.shape[1:])).astype(np.float32)
        for entry in session.get_inputs()
    }
    return session.run(None, feeds)


def batches(model: onnx.ModelProto) -> list[int]:
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    return [1, 3] if batch.dim_param == BATCH else [batch.dim_value]


def assert_runs(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    for batch in batches(model):
        for output, declared in zip(run(model, batch), model.graph.output, strict=True):
            sizes = [dim.dim_value or batch for dim in declared.type.tensor_type.shape.dim]
            assert list(output.shape) == sizes
            assert np.isfinite(output).all()
            assert output.std() > 0.01  # a graph that is silent proves nothing


def test_there_is_a_graph_for_every_convolutional_hard_case() -> None:
    assert len(HARD_CASES) >= 40
    assert all(name == build().graph.name for name, build in HARD_CASES.items())


@pytest.mark.parametrize("name", HARD_CASES)
def test_hard_case_runs_at_any_batch_size_it_declares(name: str) -> None:
    assert_runs(HARD_CASES[name]())


@pytest.mark.parametrize("name", HARD_CASES)
def test_hard_case_is_built_the_same_every_time(name: str) -> None:
    assert HARD_CASES[name]().SerializeToString() == HARD_CASES[name]().SerializeToString()


@pytest.mark.parametrize("name", HARD_CASES)
def test_no_two_weights_of_a_hard_case_are_equal(name: str) -> None:
    weights = [
        numpy_helper.to_array(entry)
        for entry in HARD_CASES[name]().graph.initializer
        if entry.data_type == onnx.TensorProto.FLOAT and not entry.name.startswith("const")
    ]
    assert len({array.tobytes() for array in weights}) == len(weights)
    for array in weights:
        rows = array.reshape(array.shape[0], -1)
        assert len(np.unique(rows, axis=0)) == len(rows)


def test_only_cases_with_static_sizes_have_a_fixed_batch() -> None:
    fixed = {name for name, build in HARD_CASES.items() if batches(build()) == [1]}
    assert fixed == {
        "grouped_query_operator",
        "grouped_query_packed",
        "interpolate_static_sizes",
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_network_runs(seed: int) -> None:
    assert_runs(random_network(seed))


def test_random_networks_differ_by_seed_only() -> None:
    assert random_network(5).SerializeToString() == random_network(5).SerializeToString()
    kinds = {tuple(node.op_type for node in random_network(seed).graph.node) for seed in range(20)}
    assert len(kinds) >= 18


def test_random_networks_use_every_block() -> None:
    seen = {node.op_type for seed in range(20) for node in random_network(seed).graph.node}
    assert {"Add", "Concat", "Mul", "MaxPool", "AveragePool", "BatchNormalization"} <= seen


def test_random_network_without_blocks_is_a_stem_and_a_head() -> None:
    operators = [node.op_type for node in random_network(0, blocks=0).graph.node]
    assert operators == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


def test_builder_refuses_an_invalid_graph() -> None:
    graph = GraphBuilder("broken")
    graph.output(graph.node("Relu", "nowhere"), (BATCH, 3))
    with pytest.raises(onnx.checker.ValidationError, match="nowhere"):
        graph.build()


def test_builder_keeps_integers_and_turns_all_else_into_float32() -> None:
    graph = GraphBuilder("constants", opset=21)
    x = graph.input((BATCH, 3))
    graph.constant([1, 2])
    graph.output(graph.node("Mul", x, graph.constant(np.float64(0.5))), (BATCH, 3))
    model = graph.build()
    types = [entry.data_type for entry in model.graph.initializer]
    assert types == [onnx.TensorProto.INT64, onnx.TensorProto.FLOAT]
    assert (model.opset_import[0].version, model.ir_version) == (21, 10)
