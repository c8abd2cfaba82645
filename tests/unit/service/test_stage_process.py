"""The process of one stage, run here in a thread's place and once for real."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service import stage_process
from service.faults import arm
from service.stage_process import StopFlag, hash_files, main
from tests.unit.service.worker_parts import FAKE, write_dataset


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_dataset(tmp_path)
    run = tmp_path / "run-1"
    run.mkdir()
    dataset = {
        "uri": (tmp_path / "sets" / "set.npz").as_uri(),
        "roots": [str(tmp_path / "sets")],
        "sha256": None,
    }
    (run / "request.json").write_text(json.dumps({"recipe": {"epochs": 1}, "dataset": dataset}))
    return run


@pytest.fixture(autouse=True)
def _harmless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep this process's stdout, signals and failpoints as they are."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(stage_process, "die_with_parent", lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)
    arm("")


def call(
    run: Path, stage: str, monkeypatch: pytest.MonkeyPatch, **script: object
) -> tuple[int, list[dict[str, Any]]]:
    """Run one stage in this process; exit code and lines."""
    (run / "model.onnx").write_text(json.dumps(script))
    lines = run.parent / "lines"
    descriptor = os.open(lines, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    monkeypatch.setattr(stage_process, "_take_stdout", lambda: descriptor)
    options = ["--stage", stage, "--job", "job_1", "--run", str(run), "--parent", "1"]
    code = main([*options, "--compression", FAKE])
    os.close(descriptor)
    return code, [json.loads(line) for line in lines.read_text().splitlines()]


def test_prepare_pins_the_data_and_reports_digests(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, lines = call(run, "prepare", monkeypatch)
    assert code == 0
    assert lines[-1]["kind"] == "result"
    assert set(lines[-1]["files"]) == {"dataset.npz", "space.json"}
    digest = hashlib.sha256((run / "space.json").read_bytes()).hexdigest()
    assert lines[-1]["files"]["space.json"] == digest


def test_all_stages_one_after_the_other(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("prepare", "train", "export", "verify"):
        code, lines = call(run, stage, monkeypatch, steps=3)
        assert code == 0
    products = {"compressed.onnx", "solution.json", "proof.json", "report.json"}
    assert products < set(lines[-1]["files"])
    assert not any(name.startswith("checkpoints") for name in lines[-1]["files"])


@pytest.mark.parametrize(
    ("kind", "exit_code", "code"),
    [
        ("input", 2, "dataset-labels"),
        ("target", 3, "target-unreachable"),
        ("proof", 4, "verification-failed"),
        ("diverged", 1, "training-diverged"),
        ("crash", 1, "internal"),
    ],
)
def test_errors_have_an_exit_code_and_a_last_line(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    exit_code: int,
    code: str,
) -> None:
    trouble = {"stage": "train", "kind": kind}
    found, lines = call(run, "train", monkeypatch, trouble=trouble)
    assert found == exit_code
    assert (lines[-1]["kind"], lines[-1]["code"]) == ("failed", code)
    assert ("Traceback" in capfd.readouterr().err) == (code == "internal")
    assert (kind == "target") == ("reachable_ratio" in lines[-1])


def test_data_that_may_not_be_read_is_bad_input(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = json.loads((run / "request.json").read_text())
    request["dataset"]["roots"] = []
    (run / "request.json").write_text(json.dumps(request))
    code, lines = call(run, "prepare", monkeypatch)
    assert code == 2
    assert lines[-1]["code"] == "dataset-uri-forbidden"


def test_a_stop_that_the_stage_has_seen_is_75(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_FAULT", "train.step:term@3")
    code, lines = call(run, "train", monkeypatch, steps=50)
    assert code == 75
    assert lines[-1]["kind"] == "checkpoint"
    assert lines[-1]["step"] == 3
    assert not (run / "weights.json").exists()


def test_a_stop_that_came_too_late_is_a_finished_stage(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(run, "train", monkeypatch, steps=1)
    monkeypatch.setenv("SECATEUR_FAULT", "export:term")
    assert call(run, "export", monkeypatch)[0] == 0


def test_the_second_sigterm_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    stop = StopFlag()
    stop.install()
    os.kill(os.getpid(), signal.SIGTERM)
    assert (stop.is_set, stop.was_seen, left) == (True, False, [])
    assert stop()
    assert stop.was_seen
    os.kill(os.getpid(), signal.SIGTERM)
    assert left == [75]


def test_files_in_folders_are_hashed_without_logs_and_checkpoints(tmp_path: Path) -> None:
    for name in ("a/b", "checkpoints/step-1", "stage.log", "model.onnx", "request.json", "c"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    assert set(hash_files(tmp_path)) == {"a/b", "c"}


def test_what_libraries_print_does_not_disturb_the_lines(run: Path) -> None:
    script = {"steps": 2, "trouble": {"stage": "train", "kind": "print"}}
    (run / "model.onnx").write_text(json.dumps(script))
    options = ["--stage", "train", "--job", "job_1", "--run", str(run)]
    command = [sys.executable, "-m", "service.stage_process", *options]
    command += ["--parent", str(os.getpid()), "--compression", FAKE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "a library prints" in done.stderr
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds[-1] == "result"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
        (OSError(errno.ENOSPC, "full"), "insufficient-storage"),
        (OSError(errno.EACCES, "no"), "internal"),
        (RuntimeError("a bug"), "internal"),
    ],
)
def test_what_nobody_raised_on_purpose_has_a_code(error: Exception, code: str) -> None:
    assert stage_process._code_of(error) == code
    wrapped = RuntimeError("around it")
    wrapped.__cause__ = error
    assert stage_process._code_of(wrapped) == code
