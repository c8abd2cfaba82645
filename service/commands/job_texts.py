"""Jobs as text for people, and as exit codes for scripts."""

from collections.abc import Iterator, Sequence
from typing import TypeGuard

from service.schemas import Job

_FAULT = 1
_INPUT = 2
_EXIT_CODES = {"target-unreachable": 3, "quality-gate-failed": 3, "verification-failed": 4}
_INPUT_PREFIXES = ("model-", "dataset-", "invalid-", "input-", "validation-")


def exit_code_of(job: Job) -> int:
    """What a command that waited for ``job`` exits with: as ``compress`` would, 1 if cancelled."""
    if job.status == "succeeded":
        return 0
    code = job.error.code if job.error else ""
    return _EXIT_CODES.get(code, _INPUT if code.startswith(_INPUT_PREFIXES) else _FAULT)


def job_rows(jobs: Sequence[Job]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """One row per job: id, status, model, target, progress, time of creation."""
    for job in jobs:
        created = job.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
        yield job.id, job.status, job.model.name, _target(job), _progress(job), created


def describe_job(job: Job) -> str:
    """A job in a few lines."""
    rows = {
        "job": job.id,
        "status": job.status,
        "model": f"{job.model.name} ({job.model.bytes:,} bytes)",
        "dataset": job.dataset.uri,
        "target": _target(job),
        "progress": _progress(job),
        "attempt": str(job.attempt) if job.attempt > 1 else "",
        "result": _figures(job),
        "error": f"{job.error.code}: {job.error.detail}" if job.error else "",
    }
    return "\n".join(f"{name:9} {text}" for name, text in rows.items() if text)


def _target(job: Job) -> str:
    ratios = job.target.model_dump(exclude_none=True)
    return ", ".join(f"{name} {ratio:.0%}" for name, ratio in ratios.items())


def _progress(job: Job) -> str:
    progress = job.progress
    if progress is None or job.is_finished:
        return ""
    where = ": ".join(text for text in (progress.stage, progress.phase) if text)
    return f"{progress.fraction:.0%} {where}".rstrip()


def _figures(job: Job) -> str:
    """What is left of each quantity, and what was removed."""
    result = job.result or {}
    ratios, removed = result.get("ratios"), result.get("removed")
    parts = []
    if isinstance(ratios, dict):
        parts += [f"{name} {value:.1%}" for name, value in ratios.items() if _is_number(value)]
    if isinstance(removed, dict):
        counts = [f"{count} {kind}" for kind, count in removed.items() if count]
        parts.append(f"removed {' + '.join(counts) or 'nothing'}")
    return ", ".join(parts)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
