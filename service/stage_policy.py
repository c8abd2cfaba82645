"""What the end of a stage's process means for its job; pure decisions.

1. Exit 0 with a result: the stage is done.
2. Exit 2, 3, 4, or a named error with exit 1: the job fails with that code, which trying again
   would not change.
3. Our own fault, a crash, or leaving unasked: one more attempt, then ``internal``.
4. Killed by the kernel for want of memory: one more attempt, then ``out-of-memory``.
5. No sign of life: the next attempt, then ``worker-stalled``.
6. Ran for too long: ``deadline-exceeded``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.stage_child import ChildEnd, Ending

_OWN_FAULT = "internal"
_MAX_SECOND_CHANCES = 1
_TEXTS = {
    "internal": "the service failed on this job, which is our fault; submit it again or report it",
    "out-of-memory": "the job needs more memory than the worker has; use a smaller batch size",
    "worker-stalled": "the job showed no sign of life and was ended; submit it again",
    "worker-lost": "the job's worker was lost too often; submit it again",
    "deadline-exceeded": "the job ran longer than it may; use fewer epochs or a time budget",
    "insufficient-storage": "the service's disk is full; try again later",
    "storage-unavailable": "the service cannot store the result; try again later",
    "artifact-corrupt": "the stored model is damaged; upload it again",
    "gone": "the model is no longer stored; upload it again",
}


@dataclass(frozen=True, kw_only=True)
class Done:
    """The stage has finished and left these files, path -> SHA-256."""

    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Fail:
    """The job has failed; ``error`` has ``code, detail, param`` and further facts."""

    error: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Retry:
    """The next attempt may begin; if there is none left, the job fails with ``code``."""

    code: str


def judge(end: ChildEnd, faults: Sequence[str]) -> Done | Fail | Retry:
    """Decide by the rules of the module.

    Args:
        end: How the process ended; not one that we stopped.
        faults: Codes of the job's earlier attempts that failed.
    """
    line = end.last_line or {}
    if end.ending is Ending.DEADLINE:
        return Fail(error=error_of("deadline-exceeded"))
    if end.ending is Ending.STALLED:
        return Retry(code="worker-stalled")
    if end.ending is Ending.OUT_OF_MEMORY:
        return _second_chance("out-of-memory", faults)
    if end.exit_code == 0 and line.get("kind") == "result":
        return Done(files=line["files"])
    is_named = line.get("kind") == "failed" and line.get("code") != _OWN_FAULT
    if is_named and end.exit_code in (1, 2, 3, 4):
        hidden = ("kind", "seq")
        return Fail(error={name: value for name, value in line.items() if name not in hidden})
    return _second_chance(_OWN_FAULT, faults)


def error_of(code: str) -> dict[str, Any]:
    """The record of a failure that has nothing to do with the user's input.

    A code without a text of its own is a bug of ours, and recorded as such.
    """
    known = code if code in _TEXTS else _OWN_FAULT
    return {"code": known, "detail": _TEXTS[known], "param": None}


def _second_chance(code: str, faults: Sequence[str]) -> Fail | Retry:
    if faults.count(code) >= _MAX_SECOND_CHANCES:
        return Fail(error=error_of(code))
    return Retry(code=code)
