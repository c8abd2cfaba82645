"""Jobs as text and as exit codes."""

import pytest

from service.commands.job_texts import describe_job, exit_code_of, job_rows
from service.schemas import Job, Links, ProblemDocument, Progress

LINKS = Links.model_validate(
    dict.fromkeys(("self", "events", "cancel", "model", "report", "page", "solution", "space"), "/")
)


def job(**fields: object) -> Job:
    values = {
        "id": "job_1",
        "status": "running",
        "model": {"name": "m.onnx", "sha256": "0", "bytes": 12345},
        "dataset": {"uri": "https://h/x"},
        "target": {"macs": 0.5, "params": 0.25},
        "recipe": {},
        "metadata": {},
        "attempt": 2,
        "created_at": "2026-01-01T00:00:00Z",
        "links": LINKS,
        **fields,
    }
    return Job.model_validate(values)


def problem(code: str) -> ProblemDocument:
    return ProblemDocument(type="/", title="t", detail="why", code=code, retryable=False)


@pytest.mark.parametrize(
    "status, code, expected",
    [
        ("succeeded", None, 0),
        ("failed", "target-unreachable", 3),
        ("failed", "verification-failed", 4),
        ("failed", "dataset-labels", 2),
        ("failed", "model-quantised", 2),
        ("failed", "worker-lost", 1),
        ("cancelled", None, 1),
    ],
)
def test_exit_codes(status: str, code: str | None, expected: int) -> None:
    error = None if code is None else problem(code)
    assert exit_code_of(job(status=status, error=error)) == expected


def test_a_job_in_a_few_lines() -> None:
    progress = Progress(fraction=0.25, stage="train", phase="hybrid")
    lines = describe_job(job(progress=progress)).splitlines()
    assert "model     m.onnx (12,345 bytes)" in lines
    assert "target    macs 50%, params 25%" in lines
    assert "progress  25% train: hybrid" in lines
    assert "attempt   2" in lines
    finished = describe_job(
        job(status="failed", progress=progress, attempt=1, error=problem("worker-lost"))
    )
    assert "error     worker-lost: why" in finished
    assert "progress" not in finished
    assert "attempt" not in finished


def test_rows() -> None:
    ((job_id, status, model, target, progress, created),) = job_rows([job()])
    assert (job_id, status, model, progress) == ("job_1", "running", "m.onnx", "")
    assert target == "macs 50%, params 25%"
    assert created.startswith(("2025-12-31", "2026-01-01"))
