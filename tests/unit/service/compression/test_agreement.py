"""Gates G1 and G2 pass what is equal, and stop what is not."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from exporters.errors import ProofFailedError
from exporters.sessions import run
from graph_analysis.errors import ModelError
from optimizer.bridge.module import ImportedModule, import_model
from service.compression import agreement
from service.compression.agreement import check_import, check_trained, compare, disagreement
from service.compression.subject import interface_of
from service.demo import MODEL_PATH

REAL = {"image": np.random.default_rng(0).random((8, 1, 8, 8), np.float32)}


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.load(MODEL_PATH)


@pytest.fixture
def imported(model: onnx.ModelProto) -> ImportedModule:
    return import_model(model)


def test_equal_networks_agree(model: onnx.ModelProto, imported: ImportedModule) -> None:
    assert disagreement(imported, model, REAL, seed=0) is None
    check_import(imported, model, REAL, 0)
    check_trained(imported, model, REAL, 0)


def test_one_changed_weight_is_seen(model: onnx.ModelProto, imported: ImportedModule) -> None:
    with torch.no_grad():
        next(imported.module.parameters()).view(-1)[0] += 0.1
    with pytest.raises(ModelError, match="differs from ONNX Runtime in output 'logits'") as caught:
        check_import(imported, model, REAL, 0)
    assert caught.value.code == "model-conversion-mismatch"
    with pytest.raises(ProofFailedError, match="G2: the masked model differs") as failed:
        check_trained(imported, model, REAL, 0)
    assert failed.value.exit_code == 4


def test_swapped_classes_are_seen(model: onnx.ModelProto, imported: ImportedModule) -> None:
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [10]:
            swapped = numpy_helper.to_array(tensor)[::-1].copy()
            tensor.CopyFrom(numpy_helper.from_array(swapped, tensor.name))
    assert disagreement(imported, model, REAL, seed=0) is not None


@pytest.mark.parametrize(
    ("expected", "actual", "passes"),
    [
        (np.ones(4, np.float32), np.ones(3, np.float32), False),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), False),
        (np.array([1.0, np.inf]), np.array([1.0, -np.inf]), False),
        (np.array([1000.0]), np.array([1000.05]), True),
        (np.array([1000.0]), np.array([1000.2]), False),
        (np.array([1.0], np.float16), np.array([1.01], np.float16), True),
        (np.arange(16), np.arange(16), True),
        (np.arange(16), np.arange(16) + 1, False),
        (np.array([], np.float32), np.array([], np.float32), True),
    ],
)
def test_room_is_for_rounding_only(expected: np.ndarray, actual: np.ndarray, passes: bool) -> None:
    assert (compare("y", expected, actual, "real") is None) is passes


def test_a_model_without_inputs_cannot_be_fed() -> None:
    graph = onnx.helper.make_graph([], "empty", [], [])
    with pytest.raises(ModelError, match="no inputs") as caught:
        interface_of(onnx.helper.make_model(graph))
    assert caught.value.code == "model-no-io"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (onnx.helper.make_tensor_value_info("a", onnx.TensorProto.STRING, ["n"]), "tensor of"),
        (onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, []), "a scalar"),
        (onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, None), "known rank"),
    ],
)
def test_inputs_without_samples_are_refused(value: onnx.ValueInfoProto, text: str) -> None:
    graph = onnx.helper.make_graph([], "odd", [value], [])
    with pytest.raises(ModelError, match=text) as caught:
        interface_of(onnx.helper.make_model(graph))
    assert caught.value.code == "model-input-unsupported"
    assert caught.value.param == "a"


def test_made_up_inputs_that_the_model_refuses_are_left_out(
    model: onnx.ModelProto, imported: ImportedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(session: object, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if feeds["image"] is not REAL["image"]:
            message = "not made for these values"
            raise RuntimeError(message)
        return run(session, feeds)  # type: ignore[arg-type]

    monkeypatch.setattr(agreement, "run", picky)
    assert disagreement(imported, model, REAL, seed=0) is None
    other = {"image": REAL["image"] + 1}
    with pytest.raises(RuntimeError, match="not made for these"):
        disagreement(imported, model, other, seed=0)
