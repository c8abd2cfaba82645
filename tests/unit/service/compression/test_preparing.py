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


def test_everything_protected_leaves_nothing_to_do(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    with pytest.raises(SecateurError, match="nothing can be removed") as caught:
        only("prepare", run, recipe(protect="*"))
    assert caught.value.code == "model-nothing-to-prune"


@pytest.mark.parametrize(
    "settings", [{"loss": "mix"}, {"loss": "cross-entropy"}, {"max_accuracy_drop": 0.01}]
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
