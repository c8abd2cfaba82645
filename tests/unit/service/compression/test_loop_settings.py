"""The settings of the training loop through a whole job: they arrive, and the proof holds."""

from pathlib import Path

import pytest

from graph_analysis.errors import InputError
from service.demo.digits import digits
from tests.unit.service.compression.runs import (
    digits_run,
    only,
    recipe,
    run_all,
    some_digits,
)
from tests.unit.service.compression.test_stages import report_of

EVERYTHING = {
    "precision": "bfloat16",
    "accumulate": 2,
    "checkpointing": 2,
    "layout": "channels-last",
    "ema_decay": 0.9,
    "lr_schedule": "one-cycle",
    "patience": 50,
}


def test_a_job_with_everything_ends_with_its_proof(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    run_all(run, recipe(epochs=3, **EVERYTHING))
    report = report_of(run)
    assert report["proof"]["passed"]
    assert report["ratios"]["macs"] <= 0.25
    assert report["training_summary"]["ended"] == "schedule"
    assert EVERYTHING.items() <= report["configuration"].items()
    assert report["training_summary"]["used"] == {
        "loss": "cross-entropy",
        "distillation": 0.9,
        "lr": 0.05,
        "batch_size": 32,
        "comparison": "relative",
        "precision": "bfloat16",
    }


def test_a_job_from_scratch_learns_and_ends_with_its_proof(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run", **some_digits(1000))
    lines = run_all(run, recipe(start="scratch", epochs=12, lr=0.1))
    report = report_of(run)
    assert "from-scratch" in lines.codes
    used = report["training_summary"]["used"]
    assert (used["loss"], used["distillation"], used["lr"]) == ("cross-entropy", 0, 0.1)
    assert report["proof"]["passed"]
    assert report["ratios"]["macs"] <= 0.25
    assert report["model"]["after"]["accuracy"] > 0.8


def test_a_job_ends_early_once_it_is_good_enough(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    lines = run_all(run, recipe(target_macs=0.7, epochs=12, early_stop=True, max_accuracy_drop=0.2))
    report = report_of(run)
    assert "training-ended-early" in lines.codes
    assert report["training_summary"]["ended"] == "good-enough"
    assert report["training_summary"]["is_within_drop"] is True
    assert lines.steps < 12 * 10


def test_contradictions_and_missing_labels_are_refused_before_training(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    with pytest.raises(InputError, match="accuracy of the original"):
        only("prepare", run, recipe(start="scratch", max_accuracy_drop=0.1))
    unlabelled = {"x_train": digits()["x_train"][:100], "y_train": None, "y_val": None}
    bare = digits_run(tmp_path / "bare", **unlabelled, y_test=None)
    with pytest.raises(InputError) as caught:
        only("prepare", bare, recipe(start="scratch"))
    assert caught.value.code == "dataset-labels"
