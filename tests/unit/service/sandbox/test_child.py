"""The order in which a child gives up its rights, seen from inside this process with fakes."""

import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from graph_analysis.errors import ModelError
from service.sandbox import child


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record instead of doing what cannot be undone."""
    seen: list[str] = []
    monkeypatch.setattr(child.os, "nice", lambda _: seen.append("nice"))
    monkeypatch.setattr(child.resource, "setrlimit", lambda kind, _: seen.append(f"limit {kind}"))
    monkeypatch.setattr(child, "prctl", lambda option, _: seen.append(f"prctl {option}"))
    monkeypatch.setattr(child.landlock, "restrict", lambda **_: seen.append("landlock"))
    monkeypatch.setattr(child.seccomp, "deny", lambda: seen.append("seccomp"))
    keep = os.dup(1)
    yield seen
    os.dup2(keep, 1)
    os.close(keep)


def _task(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    module = ModuleType("task_of_test")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "task_of_test", module)


def _main(tmp_path: Path, capfd: pytest.CaptureFixture[str], **changes: Any) -> Any:
    limits = {"cpu_seconds": 5, "file_bytes": 1, "memory_bytes": 1}
    request = {
        "task": "task_of_test", "payload": {"n": 1}, "limits": limits, "read": ["/input"],
        "landlock": True, "seccomp": True, **changes,
    }  # fmt: skip
    path = tmp_path / "request.json"
    path.write_text(json.dumps(request))
    child.main([str(path)])
    return json.loads(capfd.readouterr().out)


def test_rights_go_before_the_task_runs(
    steps: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(child, "machine", lambda: "x86_64")
    _task(monkeypatch, lambda payload: steps.append("run") or payload)
    assert _main(tmp_path, capfd) == {"result": {"n": 1}}
    assert f"limit {resource.RLIMIT_AS}" in steps
    assert steps[-4:] == ["prctl 38", "landlock", "seccomp", "run"]


def test_without_kernel_support_the_limits_remain(
    steps: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(child, "machine", lambda: None)
    _task(monkeypatch, lambda payload: payload)
    _main(tmp_path, capfd, landlock=False, seccomp=False)
    assert not {"landlock", "seccomp"} & set(steps)
    assert f"limit {resource.RLIMIT_CPU}" in steps


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), {"memory": True}),
        (
            ModelError("bad", code="model-rank", param="n"),
            {
                "error": {
                    "code": "model-rank",
                    "message": "bad",
                    "param": "n",
                    "limit": None,
                    "actual": None,
                }
            },
        ),
    ],
)
def test_expected_failures_are_answers(error: Exception, answer: Any) -> None:
    def run(payload: Any) -> None:
        raise error

    assert child._answer(run, {}) == answer


def test_limits_are_never_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child.resource, "getrlimit", lambda _: (10, 10))
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(child.resource, "setrlimit", lambda _, pair: seen.append(pair))
    child._set(resource.RLIMIT_NOFILE, 64, 64)
    assert seen == [(10, 10)]


def test_readable_folders_hold_code_and_no_data() -> None:
    folders = child._code_folders()
    root = Path(child.__file__).parents[2]
    assert root not in folders
    assert root / "service" in folders
    assert Path("/etc") not in folders
    assert Path("/") not in folders
