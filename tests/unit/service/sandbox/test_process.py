"""The child as a whole: what it may do, and that each way to end is told apart."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.sandbox import Outcome, SandboxLimits, SandboxResult, run_task, sandbox_support
from service.sandbox import process as process_module

_TASKS = "tests.unit.service.sandbox.tasks"
_CODE = Path(__file__).parents[3]
_LIMITS = SandboxLimits(
    wall_seconds=60, cpu_seconds=30, memory_bytes=2 * 1024**3, file_bytes=1024**2
)
_confined = pytest.mark.skipif(
    not sandbox_support().is_complete, reason="no Landlock or seccomp here"
)


def _run(mode: str, limits: SandboxLimits = _LIMITS, **payload: Any) -> SandboxResult:
    read = [_CODE, *(Path(payload[name]) for name in ("allowed",) if name in payload)]
    return run_task(_TASKS, {"mode": mode, **payload}, read=read, limits=limits)


def test_surroundings_are_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    result = _run("surroundings")
    assert result.outcome is Outcome.ANSWERED
    seen = result.answer["result"]
    assert not {"SECRET_TOKEN", "PYTHONPATH"} & set(seen["environment"])
    assert seen["folder"] == []
    assert seen["stdin"] == ""
    assert seen["session"]
    assert seen["isolated"]
    assert seen["niceness"] >= 10
    assert seen["limits"]["RLIMIT_CORE"] == [0, 0]
    assert seen["limits"]["RLIMIT_NOFILE"] == [64, 64]
    assert seen["limits"]["RLIMIT_FSIZE"] == [1024**2, 1024**2]
    assert seen["limits"]["RLIMIT_CPU"] == [30, 32]
    assert "noise of a native library" in result.stderr


@_confined
def test_everything_but_the_task_is_refused(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "input", tmp_path / "other" / "secret"
    allowed.write_text("data")
    secret.parent.mkdir()
    secret.write_text("secret")
    result = _run("attempts", allowed=str(allowed), secret=str(secret))
    assert result.outcome is Outcome.ANSWERED, result.stderr
    seen = result.answer["result"]
    for name in ("read_input", "write_own_folder", "thread"):
        assert seen.pop(name) == "done"
    assert seen.pop("large_file") == "EFBIG"
    assert seen.pop("clone3") == "ENOSYS"
    assert set(seen.values()) <= {"EACCES", "EPERM"}, seen
    assert allowed.read_text() == "data"
    assert not secret.with_name("new").exists()


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        ("abort", Outcome.CRASHED),
        ("segfault", Outcome.CRASHED),
        ("bug", Outcome.CRASHED),
        ("leave", Outcome.CRASHED),
        ("allocate", Outcome.OUT_OF_MEMORY),
    ],
)
def test_ends_are_told_apart(mode: str, outcome: Outcome) -> None:
    result = _run(mode)
    assert result.outcome is outcome
    assert "result" not in result.answer


def test_a_bug_leaves_its_traceback_for_the_log() -> None:
    assert "ZeroDivisionError" in _run("bug").stderr


@pytest.mark.parametrize(
    ("mode", "limits"),
    [
        ("sleep", SandboxLimits(wall_seconds=1.5)),
        ("spin", SandboxLimits(wall_seconds=60, cpu_seconds=1)),
        ("flood", SandboxLimits(wall_seconds=60)),
    ],
)
def test_too_much_of_anything_ends_it(mode: str, limits: SandboxLimits) -> None:
    result = _run(mode, limits)
    assert result.outcome is (Outcome.CRASHED if mode == "flood" else Outcome.TIMED_OUT)


def test_a_refusal_comes_back_with_its_facts() -> None:
    result = _run("refuse")
    assert result.outcome is Outcome.ANSWERED
    assert result.answer["error"] == {
        "code": "model-rank",
        "message": "no",
        "param": "node",
        "limit": 8,
        "actual": 9,
    }


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert _run("echo").outcome is Outcome.ANSWERED
    assert _run("sleep", SandboxLimits(wall_seconds=0.5)).outcome is Outcome.TIMED_OUT
    assert list(tmp_path.iterdir()) == []


def test_works_without_kernel_support(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from service.sandbox.support import SandboxSupport

    none = SandboxSupport(landlock=False, seccomp=False)
    monkeypatch.setattr(process_module, "sandbox_support", lambda: none)
    result = _run("echo", word="ä")
    assert result.answer["result"]["word"] == "ä"


@pytest.mark.parametrize("output", [b"", b"[1]", b"{", b'{"memory": 1', b"[" * 100_000])
def test_an_unreadable_answer_is_a_crash(output: bytes) -> None:
    assert process_module._parse(output) == {}


def test_a_kill_from_outside_counts_as_memory() -> None:
    assert process_module._classify(-9, b"", killed=False) is Outcome.OUT_OF_MEMORY
    assert process_module._classify(-9, b"", killed=True) is Outcome.TIMED_OUT
    assert process_module._classify(-6, b"std::bad_alloc", killed=False) is Outcome.OUT_OF_MEMORY
    assert process_module._classify(-6, b"", killed=False) is Outcome.CRASHED
    assert process_module._classify(-24, b"", killed=False) is Outcome.TIMED_OUT


def test_the_group_of_a_late_child_is_killed() -> None:
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert process_module._end(child, deadline=0.0)
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
