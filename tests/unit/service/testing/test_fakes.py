"""The shipped fakes do what they say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.jobs import JobStatus
from service.run_store import Outcome
from service.testing import example_spec, finish_job, open_store, temporary_database
from service.testing.fake_compression import Recipe, RunDirectory, run_stage


def train(folder: Path, stop_at: int | None = None, **script: object) -> list[Mapping[str, Any]]:
    """Run the fake training; its lines."""
    (folder / "model.onnx").write_text(json.dumps(script))
    lines: list[Mapping[str, Any]] = []
    run_stage(
        "train",
        RunDirectory(folder),
        Recipe.parse({}),
        report=lines.append,
        should_stop=lambda: lines[-1].get("step") == stop_at,
    )
    return lines


def test_a_resumed_training_ends_like_one_that_was_never_stopped(tmp_path: Path) -> None:
    plain, stopped = tmp_path / "plain", tmp_path / "stopped"
    for folder in (plain, stopped):
        folder.mkdir()
    train(plain, steps=9, checkpoint_every=4)
    train(stopped, stop_at=5, steps=9, checkpoint_every=4)
    assert not (stopped / "weights.json").exists()
    lines = train(stopped, steps=9, checkpoint_every=4)
    assert {"kind": "resumed", "step": 5} in lines
    assert (plain / "weights.json").read_text() == (stopped / "weights.json").read_text()


def test_any_other_model_is_trained_for_its_epochs(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07no JSON")
    lines: list[Mapping[str, Any]] = []
    run_stage(
        "train",
        RunDirectory(tmp_path),
        Recipe.parse({"epochs": 2}),
        report=lines.append,
        should_stop=lambda: False,
    )
    assert [line["step"] for line in lines if line["kind"] == "progress"] == [1, 2]


def test_trouble_happens_once(tmp_path: Path) -> None:
    trouble = {"stage": "train", "step": 1, "kind": "crash", "once": str(tmp_path / "once")}
    with pytest.raises(RuntimeError, match="the fake crashes"):
        train(tmp_path, steps=3, trouble=trouble)
    train(tmp_path, steps=3, trouble=trouble)
    assert (tmp_path / "weights.json").exists()


def test_a_job_is_brought_to_an_end_without_a_worker(tmp_path: Path) -> None:
    database = temporary_database(tmp_path)
    store = open_store(database)
    job = store.create("own_a", example_spec()).job
    finish_job(database, job.id, Outcome(status=JobStatus.SUCCEEDED, result={}))
    assert store.get("own_a", job.id).status is JobStatus.SUCCEEDED
    database.dispose()
