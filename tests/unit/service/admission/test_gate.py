"""The parent's side: how a child's end becomes a code, and that its answer is not believed."""

from pathlib import Path
from typing import Any

import pytest

from service.admission import AdmissionLimits, admit, gate
from service.errors import AdmissionError, SandboxUnavailableError
from service.sandbox import Outcome, SandboxLimits, SandboxResult, run_task
from tests.unit.service.admission.hostile import build
from tests.unit.service.admission.models import classifier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "model.onnx"
    made.write_bytes(classifier().SerializeToString())
    return made


def _answering(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, answer: Any) -> None:
    result = SandboxResult(outcome=outcome, answer=answer, stderr="")
    monkeypatch.setattr(gate, "run_task", lambda *_, **__: result)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.CRASHED, "model-crashed-validator"),
        (Outcome.TIMED_OUT, "validation-timeout"),
        (Outcome.OUT_OF_MEMORY, "validation-memory"),
    ],
)
def test_the_death_of_a_child_is_a_refusal(
    outcome: Outcome, code: str, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    _answering(monkeypatch, outcome, {})
    with pytest.raises(AdmissionError) as caught:
        admit(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "answer",
    [
        {"result": None},
        {"result": {"nodes": "many"}},
        {"result": {"nodes": 1, "inputs": 3}},
        {"error": {"code": "internal", "message": "forged"}},
        {"error": {"code": "model-rank", "message": 5}},
        {"error": {"code": "model-rank", "message": "m", "limit": "high"}},
        {"error": {}},
    ],
)
def test_a_forged_answer_is_a_crash(
    answer: Any, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    _answering(monkeypatch, Outcome.ANSWERED, answer)
    with pytest.raises(AdmissionError) as caught:
        admit(path)
    assert caught.value.code == "model-crashed-validator"


def test_real_timeout_and_memory(path: Path) -> None:
    for limits, code in (
        (SandboxLimits(wall_seconds=0.01), "validation-timeout"),
        (SandboxLimits(memory_bytes=64 * 1024**2), "validation-memory"),
    ):
        with pytest.raises(AdmissionError) as caught:
            admit(path, AdmissionLimits(sandbox=limits))
        assert caught.value.code == code


def test_required_isolation(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    def missing() -> None:
        message = "no seccomp"
        raise SandboxUnavailableError(message)

    monkeypatch.setattr(gate, "require_support", missing)
    with pytest.raises(SandboxUnavailableError):
        admit(path, require_sandbox=True)


def test_the_file_limit_comes_first(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(gate, "run_task", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(AdmissionError) as caught:
        admit(path, AdmissionLimits(file_bytes=100))
    assert caught.value.code == "model-too-large"


def test_a_real_native_crash_ends_the_child_only(tmp_path: Path) -> None:
    """The file that the rules refuse as ``model-dim-negative`` aborts the library (if let in)."""
    crasher = tmp_path / "crasher.onnx"
    crasher.write_bytes(build("slice_of_negative_dim"))
    result = run_task(
        "tests.unit.service.admission.bare_inference",
        {"path": str(crasher)},
        read=[crasher, Path(__file__).parents[3]],
    )
    if result.outcome is Outcome.ANSWERED:
        pytest.skip("this release of onnx survives the file")
    assert result.outcome is Outcome.CRASHED
    with pytest.raises(AdmissionError) as caught:
        gate._admission_of(result)
    assert caught.value.code == "model-crashed-validator"
