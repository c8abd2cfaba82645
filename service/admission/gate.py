"""The gate as the web process sees it: a path in, figures or a refusal out.

No byte of the model is parsed here. The child's answer is checked like any foreign input, since the
child has read the hostile file; its death is an ordinary outcome with a code of its own.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from service.admission.allowed import importable_operators
from service.admission.limits import AdmissionLimits
from service.admission.magic import check_magic
from service.admission.refusal import refuse
from service.admission.values import Admission
from service.sandbox import Outcome, SandboxResult, require_support, run_task

_log = logging.getLogger(__name__)
_TASK = "service.admission.child"
_FIRST_BYTES = 4096
_REFUSALS = {
    Outcome.CRASHED: (
        "model-crashed-validator",
        "reading the model crashed the validator, so it is refused; export the model again",
    ),
    Outcome.TIMED_OUT: (
        "validation-timeout",
        "checking the model took too long, so it is refused; simplify the model",
    ),
    Outcome.OUT_OF_MEMORY: (
        "validation-memory",
        "checking the model needed too much memory, so it is refused; simplify the model",
    ),
}


def admit(
    path: Path, limits: AdmissionLimits | None = None, *, require_sandbox: bool = False
) -> Admission:
    """Check an uploaded model in a sandboxed child process; takes about a second.

    Args:
        path: The file, on a local disk.
        limits: Sizes and counts; the defaults if None.
        require_sandbox: Refuse to work without Landlock and seccomp.

    Raises:
        AdmissionError: The model is refused; ``code`` and ``param`` say why.
        SandboxUnavailableError: Isolation is required but not to be had.
    """
    limits = limits or AdmissionLimits()
    if require_sandbox:
        require_support()
    with path.open("rb") as file:
        check_magic(file.read(_FIRST_BYTES), path.stat().st_size, limit=limits.file_bytes)
    numbers = {name: value for name, value in asdict(limits).items() if name != "sandbox"}
    operators = importable_operators()
    payload = {"path": str(path.resolve()), "limits": numbers, "operators": operators}
    result = run_task(_TASK, payload, read=[path.resolve()], limits=limits.sandbox)
    return _admission_of(result)


def _admission_of(result: SandboxResult) -> Admission:
    if result.outcome is not Outcome.ANSWERED:
        _log.warning(
            "the validator ended without an answer: %r",
            result.stderr,
            extra={"action": "validator-" + result.outcome},
        )
        refuse(*_REFUSALS[result.outcome])
    if "error" in result.answer:
        _refuse_as_told(result.answer["error"])
    try:
        return Admission.from_json(result.answer["result"])
    except (KeyError, ValueError):
        refuse(*_REFUSALS[Outcome.CRASHED])


def _refuse_as_told(error: Mapping[str, Any]) -> NoReturn:
    """Repeat the child's refusal; anything that is not one counts as a crash."""
    code, message = error.get("code"), error.get("message")
    numbers = [error.get(name) for name in ("limit", "actual")]
    sound = isinstance(message, str) and isinstance(code, str) and code.startswith("model-")
    if not sound or not all(number is None or isinstance(number, int) for number in numbers):
        refuse(*_REFUSALS[Outcome.CRASHED])
    param = error.get("param")
    refuse(
        str(code),
        str(message),
        param=param if isinstance(param, str) else None,
        limit=numbers[0],
        actual=numbers[1],
    )
