"""What is refused before anything is trained, and with which code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graph_analysis.errors import SecateurError, TargetUnreachableError
from graph_analysis.testing import HARD_CASES
from service.demo import MODEL_PATH
from tests.unit.service.compression.runs import digits_run, make_run, only, recipe, some_digits


def wrong_label() -> np.ndarray:
    labels = some_digits()["y_train"].copy()
    labels[7] = 10
    return labels


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"x_train": np.zeros((320, 8, 8, 1), np.float32)}, "dataset-shape-mismatch", "channels"),
        ({"x_train": np.zeros((320, 1, 9, 9), np.float32)}, "dataset-shape-mismatch", "9, 9"),
        ({"y_train": wrong_label()}, "dataset-labels", "label 10 in row 7"),
        ({"y_train": np.eye(10)[some_digits()["y_train"]]}, "dataset-labels", "argmax"),
        ({"x_train": np.full((320, 1, 8, 8), np.nan, np.float32)}, "dataset-non-finite", "row 0"),
        ({"y_train": np.zeros(320, np.int64)}, "dataset-one-class", "all training labels are 0"),
        (
            {"x_train": np.zeros((9, 1, 8, 8), np.float32), "y_train": np.arange(9)},
            "dataset-too-small",
            "fewer than one batch of 32",
        ),
    ],
)
def test_data_that_does_not_fit(
    tmp_path: Path, changes: dict[str, Any], code: str, text: str
) -> None:
    run = digits_run(tmp_path / "run", **changes)
    with pytest.raises(SecateurError, match=text) as caught:
        only("prepare", run, recipe())
    assert caught.value.code == code
    assert caught.value.exit_code == 2
    assert not run.space.exists()


def test_an_impossible_target_says_what_is_possible(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    with pytest.raises(TargetUnreachableError, match=r"at least 0\.0") as caught:
        only("prepare", run, recipe(target_macs=0.001))
    assert 0.001 < caught.value.reachable_ratio < 0.1
    assert caught.value.exit_code == 3


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    model = onnx.load(MODEL_PATH)
    model.graph.node[3].op_type = "FancyConv"
    run = make_run(tmp_path / "run", model, some_digits())
    with pytest.raises(SecateurError, match="FancyConv") as caught:
        only("prepare", run, recipe())
    assert caught.value.code == "model-unsupported-op"


def with_integers(model: onnx.ModelProto, *, all_of_them: bool) -> onnx.ModelProto:
    """The weights, or the last bias only, as integers behind a DequantizeLinear."""
    weights = [tensor for tensor in model.graph.initializer if tensor.data_type == 1]
    for tensor in weights if all_of_them else weights[-1:]:
        array = onnx.numpy_helper.to_array(tensor)
        scale = np.float32(max(np.abs(array).max() / 127, 1e-6))
        stored = np.rint(array / scale).astype(np.int8)
        name = tensor.name
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(
            [
                onnx.numpy_helper.from_array(stored, f"{name}.stored"),
                onnx.numpy_helper.from_array(np.asarray(scale), f"{name}.scale"),
            ]
        )
        inputs = [f"{name}.stored", f"{name}.scale"]
        node = onnx.helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}.floats")
        model.graph.node.insert(0, node)
    return model


def test_a_network_of_integers_is_refused_with_the_reason(tmp_path: Path) -> None:
    model = with_integers(onnx.load(MODEL_PATH), all_of_them=True)
    run = make_run(tmp_path / "run", model, some_digits())
    with pytest.raises(SecateurError, match="there are no float weights to train") as caught:
        only("prepare", run, recipe())
    assert caught.value.code == "model-quantised"
    assert caught.value.exit_code == 2


def test_that_some_weights_are_integers_is_said(tmp_path: Path) -> None:
    model = with_integers(onnx.load(MODEL_PATH), all_of_them=False)
    run = make_run(tmp_path / "run", model, some_digits())
    assert "integer-weights" in only("prepare", run, recipe()).codes


def test_everything_protected_leaves_nothing_to_do(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    with pytest.raises(SecateurError, match="nothing can be removed") as caught:
        only("prepare", run, recipe(protect="*"))
    assert caught.value.code == "model-nothing-to-prune"


def test_a_protect_pattern_must_match(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    with pytest.raises(SecateurError, match="matches no node") as caught:
        only("prepare", run, recipe(protect="*,nomatch*"))
    assert caught.value.param == "protect"


def test_the_least_units_to_keep_are_kept(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    with pytest.raises(SecateurError, match="at least 1 remains") as caught:
        only("prepare", run, recipe(min_units=4096, kinds="channel"))
    assert caught.value.code == "target-unreachable"


def test_too_few_steps_are_refused_before_training(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    with pytest.raises(SecateurError, match="too few to remove anything"):
        only("prepare", run, recipe(epochs=1, batch_size=200))


def token_model() -> onnx.ModelProto:
    """Ids into a table of 20 rows, a mean, two classes."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="rows"),
        helper.make_node("ReduceMean", ["rows"], ["mean"], name="mean", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "a", "b"], ["hidden"], name="first"),
        helper.make_node("Relu", ["hidden"], ["positive"], name="relu"),
        helper.make_node("Gemm", ["positive", "c", "d"], ["y"], name="second"),
    ]
    rng = np.random.default_rng(0)
    shapes = {"table": (20, 16), "a": (16, 32), "b": (32,), "c": (32, 2), "d": (2,)}
    weights = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n", 5])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_index_outside_of_its_table_is_named(tmp_path: Path, split: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"x_{name}": rng.integers(0, 20, (64, 5)) for name in ("train", "val")}
    arrays["y_train"] = rng.integers(0, 2, 64)
    good = make_run(tmp_path / "good", token_model(), arrays)
    only("prepare", good, recipe(multiple=1, target_macs=0.5))
    arrays[f"x_{split}"][37, 2] = 20
    run = make_run(tmp_path / "bad", token_model(), arrays)
    with pytest.raises(SecateurError, match=f"row 37 of the {split} samples") as caught:
        only("prepare", run, recipe(multiple=1, target_macs=0.5))
    assert caught.value.code == "dataset-dtype"


@pytest.mark.parametrize(
    "targets",
    [np.linspace(0, 9, 320), np.zeros((320, 3)), np.linspace(0, 1, 6400).reshape(320, 20)],
)
def test_targets_of_a_regression_are_not_taken_for_classes(
    tmp_path: Path, targets: np.ndarray
) -> None:
    run = digits_run(tmp_path / "run", y_train=targets, y_val=None, y_test=None)
    assert "labels-not-used" in only("prepare", run, recipe()).codes
    with pytest.raises(SecateurError, match="class numbers") as caught:
        only("prepare", run, recipe(loss="cross-entropy"))
    assert caught.value.code == "dataset-labels"


@pytest.mark.parametrize(
    "settings",
    [{"loss": "mix"}, {"start": "scratch"}, {"loss": "cross-entropy"}, {"max_accuracy_drop": 0.01}],
)
def test_what_needs_labels_says_so(tmp_path: Path, settings: dict[str, object]) -> None:
    run = digits_run(tmp_path / "run", y_train=None, y_val=None, y_test=None)
    with pytest.raises(SecateurError, match="labels") as caught:
        only("prepare", run, recipe(**settings))
    assert caught.value.code == "dataset-labels"


def test_labels_of_what_is_no_classifier_are_not_used(tmp_path: Path) -> None:
    """Scores per position: labels have no classes to be checked against."""
    model = HARD_CASES["conv_transpose"]()
    shape = [dim.dim_value or 2 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    samples = np.random.default_rng(0).standard_normal((64, *shape[1:])).astype(np.float32)
    arrays = {"x_train": samples, "y_train": np.arange(64)}
    run = make_run(tmp_path / "run", model, arrays)
    lines = only("prepare", run, recipe(target_macs=0.8, multiple=1))
    assert "labels-not-used" in lines.codes
    assert json.loads(run.baseline.read_text())["accuracy"] is None


def test_samples_that_only_the_runtime_refuses(tmp_path: Path) -> None:
    """A free axis takes any length, the network does not."""
    model = onnx.load(MODEL_PATH)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"free_{axis}"
    arrays = {**some_digits(), "x_train": np.zeros((320, 1, 1, 0), np.float32)}
    run = make_run(tmp_path / "run", model, arrays)
    with pytest.raises(SecateurError, match="does not run") as caught:
        only("prepare", run, recipe())
    assert caught.value.code == "dataset-shape-mismatch"


def test_suspicious_values_are_reported(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run", x_train=some_digits()["x_train"] * 255)
    assert "dataset-range" in only("prepare", run, recipe()).codes


def test_the_search_space_counts_its_units(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    lines = only("prepare", run, recipe())
    (event,) = (line for line in lines.of("event") if line["data"]["code"] == "search-space")
    assert event["data"]["operator"] == 5
    assert event["data"]["channel"] > 400
    baseline = json.loads(run.baseline.read_text())
    assert baseline["classes"] == 10
    assert baseline["evaluated_on"] == "test"
