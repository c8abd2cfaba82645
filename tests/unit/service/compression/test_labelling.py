"""Labels of every task through a whole job: chosen, trained with, measured in ONNX Runtime."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from exporters.report import to_text
from graph_analysis.errors import SecateurError
from service.compression import RunDirectory
from tests.unit.service.compression.runs import make_run, only, recipe, run_all

RNG = np.random.default_rng(0)
FEW = {"target_macs": 0.5, "multiple": 1, "epochs": 6, "batch_size": 16}


def perceptron(
    *sizes: int, last: str | None = None, positions: tuple[int, ...] = ()
) -> onnx.ModelProto:
    """MatMul, Add and Relu in turns; ``last`` is an operator on the output."""
    helper, nodes, weights, name = onnx.helper, [], [], "x"
    rng = np.random.default_rng(1)
    for number, (width, next_width) in enumerate(pairwise(sizes)):
        arrays = {f"w{number}": rng.standard_normal((width, next_width)) / width**0.5}
        arrays[f"b{number}"] = rng.standard_normal(next_width) / 4
        weights += [
            onnx.numpy_helper.from_array(array.astype(np.float32), key)
            for key, array in arrays.items()
        ]
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [f"m{number}"]))
        nodes.append(helper.make_node("Add", [f"m{number}", f"b{number}"], [f"a{number}"]))
        name = f"a{number}"
        if number < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [name], [f"r{number}"]))
            name = f"r{number}"
    if last is not None:
        nodes.append(helper.make_node(last, [name], ["y"]))
    else:
        nodes[-1].output[0] = "y"
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}{number}".lower()
    value, float32 = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [value("x", float32, ["n", *positions, sizes[0]])],
        [value("y", float32, ["n", *positions, sizes[-1]])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def arrays_for(
    model: onnx.ModelProto, shape: tuple[int, ...], labels_of: Any
) -> dict[str, np.ndarray]:
    """Samples, and labels made from what the model itself returns."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    arrays = {}
    for name, count in (("train", 96), ("val", 32), ("test", 32)):
        x = RNG.standard_normal((count, *shape)).astype(np.float32)
        (y,) = session.run(None, {"x": x})
        arrays |= {f"x_{name}": x, f"y_{name}": labels_of(y)}
    return arrays


def ignoring_some(scores: np.ndarray) -> np.ndarray:
    labels = scores.argmax(-1)
    labels[:, 3:] = -100
    return labels


CASES = {
    "regression": (
        perceptron(6, 32, 1),
        (6,),
        lambda y: y[:, 0].astype(np.float64) + 0.5,
        "rmse",
        0.5,
    ),
    "several numbers": (perceptron(6, 32, 3), (6,), lambda y: y - 0.25, "rmse", 0.25),
    "several labels": (perceptron(6, 32, 5), (6,), lambda y: y > 0, "f1", 1.0),
    "probable labels": (
        perceptron(6, 32, 5, last="Sigmoid"),
        (6,),
        lambda y: (y > 0.5).astype(np.float32),
        "f1",
        1.0,
    ),
    "tokens": (
        perceptron(6, 32, 4, positions=(7,)),
        (7, 6),
        ignoring_some,
        "token-accuracy",
        1.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_are_trained_with_and_measured_by_their_name(tmp_path: Path, case: str) -> None:
    model, shape, labels_of, measure, value = CASES[case]
    run = make_run(tmp_path / "run", model, arrays_for(model, shape, labels_of))
    lines = run_all(run, recipe(**FEW))
    assert "labels-not-used" not in lines.codes
    report = json.loads(run.report.read_text())
    before, after = report["model"]["before"], report["model"]["after"]
    assert (before["measure"], before["value"]) == (measure, pytest.approx(value))
    is_accuracy = measure == "token-accuracy"
    assert before["accuracy"] == (1.0 if is_accuracy else None)
    assert after["measure"] == measure
    assert after["value"] != before["value"]
    assert (after["accuracy"] is not None) == is_accuracy
    summary = report["training_summary"]
    assert summary["measure"] == measure
    assert summary["original_value"] == pytest.approx(value, rel=1e-4)
    assert (summary["best_accuracy"] is None) != is_accuracy
    assert {entry["measure"] for entry in report["training"]} == {measure}
    text = to_text(report)
    assert measure in text
    assert ("accuracy" in text) == is_accuracy
    metrics = lines.of("progress")[-1]["metrics"] if lines.of("progress") else {}
    assert "accuracy" not in metrics or is_accuracy


@pytest.mark.parametrize("loss", ["bce", "mse", "l1", "huber"])
def test_every_loss_can_be_asked_for(tmp_path: Path, loss: str) -> None:
    model = perceptron(6, 32, 3)
    arrays = arrays_for(model, (6,), lambda y: (y > 0).astype(np.int64))
    run = make_run(tmp_path / "run", model, arrays)
    run_all(run, recipe(**FEW, loss=loss), until="train")
    measure = {"bce": "f1", "l1": "mae"}.get(loss, "rmse")
    assert json.loads(run.training.read_text())["measure"] == measure


def prepared(tmp_path: Path, model: onnx.ModelProto, arrays: Any, **settings: Any) -> RunDirectory:
    run = make_run(tmp_path / "run", model, arrays)
    only("prepare", run, recipe(**{**FEW, **settings}))
    return run


def test_one_hot_labels_need_a_word(tmp_path: Path) -> None:
    model = perceptron(6, 32, 3)
    arrays = arrays_for(model, (6,), lambda y: np.eye(3)[y.argmax(1)])
    with pytest.raises(SecateurError, match="argmax"):
        prepared(tmp_path, model, arrays)
    run = prepared(tmp_path, model, arrays, loss="bce")
    assert json.loads(run.baseline.read_text())["measure"] == "f1"


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_wrong_label_is_named_with_its_split(tmp_path: Path, split: str) -> None:
    model = perceptron(6, 32, 4, positions=(7,))
    arrays = arrays_for(model, (7, 6), lambda y: y.argmax(-1))
    arrays[f"y_{split}"][5, 2] = 4
    with pytest.raises(SecateurError, match=r"label 4 in row 5.*0 to 3, and -100") as caught:
        prepared(tmp_path, model, arrays)
    assert (caught.value.code, caught.value.param) == ("dataset-labels", f"y_{split}")


def test_another_form_in_another_split_is_refused(tmp_path: Path) -> None:
    model = perceptron(6, 32, 3)
    arrays = arrays_for(model, (6,), lambda y: y)
    arrays["y_val"] = arrays["y_val"][:, :2]
    with pytest.raises(SecateurError, match="does not have the form") as caught:
        prepared(tmp_path, model, arrays)
    assert caught.value.param == "y_val"


def test_an_error_is_no_accuracy_that_could_drop(tmp_path: Path) -> None:
    model = perceptron(6, 32, 1)
    arrays = arrays_for(model, (6,), lambda y: y)
    with pytest.raises(SecateurError, match="max_accuracy_drop needs a classifier"):
        prepared(tmp_path, model, arrays, max_accuracy_drop=0.01)


def test_labels_of_the_test_split_alone_are_measured_by(tmp_path: Path) -> None:
    model = perceptron(6, 32, 3)
    arrays = arrays_for(model, (6,), lambda y: y.argmax(1))
    for name in ("y_train", "y_val"):
        del arrays[name]
    baseline = json.loads(prepared(tmp_path, model, arrays).baseline.read_text())
    assert (baseline["accuracy"], baseline["evaluated_on"]) == (1.0, "test")
