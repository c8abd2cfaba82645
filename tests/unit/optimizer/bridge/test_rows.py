"""A batch of 1 that relaxing cannot free is freed by running the graph sample by sample."""

import copy
import pickle  # noqa: TID251 - data-parallel workers receive modules so
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import fx

from optimizer.bridge.bindings import choose_bindings
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.rows import RowByRow, row_by_row
from optimizer.bridge.trainable_graph import TrainableGraph
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    run_imported,
    run_ort,
)

SHAPE = {"shape": np.array([4, 2]), "w": floats(2, 2), "back": np.array([1, 8])}


def _mixing(batch: int = 1, *extra: onnx.NodeProto, output: str = "y") -> onnx.ModelProto:
    """A matrix of all of a sample, transposed: the batch is lost in it."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "w"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["turned"]),
        helper.make_node("Reshape", ["turned", "back"], ["y"]),
        *extra,
    ]
    return model_of(nodes, {"x": (batch, 8)}, [output], SHAPE)


def _rows(imported: ImportedModule) -> RowByRow:
    found = imported.module.get_submodule("rows")
    assert isinstance(found, RowByRow)
    return found


def _sample_by_sample(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    parts = [run_ort(model, {"x": x[row : row + 1]}) for row in range(len(x))]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def test_every_sample_is_run_as_the_file_runs_it() -> None:
    model = _mixing()
    imported = import_model(model)
    assert imported.batch_is_free
    assert _rows(imported).is_vectorised
    for count in (1, 2, 5):
        x = floats(count, 8, seed=count)
        assert_same(run_imported(imported, {"x": x}), _sample_by_sample(model, x))


def test_gradients_are_those_of_the_samples_one_after_the_other() -> None:
    imported = import_model(_mixing())
    alone = copy.deepcopy(imported)
    x = torch.from_numpy(floats(3, 8))
    imported.module.train()(x).square().sum().backward()
    for row in x:
        alone.module(row[None]).square().sum().backward()
    assert imported.tensors["w"].grad is not None
    torch.testing.assert_close(imported.tensors["w"].grad, alone.tensors["w"].grad)


def test_what_depends_on_the_data_is_run_in_a_loop() -> None:
    where = [
        helper.make_node("NonZero", ["y"], ["where"]),
        helper.make_node("Shape", ["where"], ["sizes"]),
        helper.make_node("Cast", ["sizes"], ["number"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["number"], ["count"], keepdims=1),
        helper.make_node("Mul", ["y", "count"], ["z"]),
    ]
    model = _mixing(1, *where, output="z")
    imported = import_model(model)
    assert imported.batch_is_free
    assert not _rows(imported).is_vectorised
    x = floats(3, 8)
    x[1] = 0
    assert_same(run_imported(imported, {"x": x}), _sample_by_sample(model, x))


def _slow_under_vmap(x: torch.Tensor) -> torch.Tensor:
    if torch._C._functorch.is_batchedtensor(x):
        warnings.warn("a loop of its own", UserWarning, stacklevel=1)
    return x * 2


def test_what_vmap_itself_loops_over_is_run_in_turn() -> None:
    for function, is_vectorised in ((torch.relu, True), (_slow_under_vmap, False)):
        graph = fx.Graph()
        graph.output(graph.call_function(function, (graph.placeholder("x"),)))
        inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])]
        bindings = choose_bindings(inputs)
        module = row_by_row(TrainableGraph(torch.nn.Module(), graph), bindings, [torch.float32])
        assert module is not None
        rows = module.get_submodule("rows")
        assert isinstance(rows, RowByRow)
        assert rows.is_vectorised is is_vectorised


def test_weights_keep_their_names_and_copies_work() -> None:
    imported = import_model(_mixing())
    assert set(imported.weights()) == {"w"}
    imported.load_weights({"w": 2 * SHAPE["w"]})
    x = floats(2, 8)
    expected = run_imported(imported, {"x": x})
    for copied in (copy.deepcopy(imported), pickle.loads(pickle.dumps(imported))):  # noqa: S301
        assert_same(run_imported(copied, {"x": x}), expected)
        np.testing.assert_array_equal(copied.weights()["w"], 2 * SHAPE["w"])


def test_dropout_differs_from_sample_to_sample() -> None:
    drop = helper.make_node("Dropout", ["y"], ["z"])
    imported = import_model(_mixing(1, drop, output="z"))
    torch.manual_seed(0)
    found = imported.module.train()(torch.ones(16, 8))
    assert len({tuple(row) for row in (found == 0).tolist()}) > 4


@pytest.mark.parametrize("kind", ["two samples", "no axis of samples", "batch statistics"])
def test_what_would_be_another_network_keeps_its_batch(kind: str) -> None:
    if kind == "two samples":
        nodes = [
            helper.make_node("Transpose", ["x"], ["turned"]),
            helper.make_node("MatMul", ["w", "x"], ["y"]),
        ]
        model = model_of(nodes, {"x": (2, 8)}, ["y"], {"w": floats(2, 2)})
    elif kind == "no axis of samples":
        model = _mixing(1, helper.make_node("ReduceSum", ["y"], ["z"], keepdims=0), output="z")
    else:
        names = ["scale", "bias", "mean", "variance"]
        norm = helper.make_node("BatchNormalization", ["y", *names], ["z"])
        model = _mixing(1, norm, output="z")
        for name in names:
            array = np.ones(8, np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    imported = import_model(model)
    assert not imported.batch_is_free
    x = floats(*(2 if kind == "two samples" else 1, 8))
    assert_same(run_imported(imported, {"x": x}), run_ort(model, {"x": x}))
