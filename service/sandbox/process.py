"""Starts the child, watches its clock and its output, and tells the ways it can end apart.

The parent never uses ``preexec_fn``, which can deadlock where threads run. The child gives up
its rights itself, before it opens the input; until then it runs our own code only.
"""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.sandbox.support import sandbox_support

_log = logging.getLogger(__name__)
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from service.sandbox.child import main; main(sys.argv[2:])"
)
_ROOT = Path(__file__).resolve().parents[2]
_STDOUT_LIMIT = 64 * 1024
_STDERR_SHOWN = 4 * 1024
_MEMORY_MARKS = (
    b"bad_alloc", b"Arena alloc failed", b"MemoryError", b"Cannot allocate memory",
    b"failed to map segment",
)  # fmt: skip
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Outcome(StrEnum):
    """How a child ended."""

    ANSWERED = "answered"
    CRASHED = "crashed"
    TIMED_OUT = "timed-out"
    OUT_OF_MEMORY = "out-of-memory"


@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """What one child may use.

    Attributes:
        wall_seconds: Until the parent kills it.
        cpu_seconds: CPU time.
        memory_bytes: Address space.
        file_bytes: Size of any file it writes.
    """

    wall_seconds: float = 60.0
    cpu_seconds: int = 60
    memory_bytes: int = 4 * 1024**3
    file_bytes: int = 16 * 1024**2


@dataclass(frozen=True, kw_only=True)
class SandboxResult:
    """What came back.

    Attributes:
        outcome: How the child ended.
        answer: ``{"result": ...}`` or ``{"error": {...}}`` if it answered, else empty. The child
            saw hostile bytes, so the caller checks what it reads here.
        stderr: The last 4 KB of what it printed, for the log only.
    """

    outcome: Outcome
    answer: Mapping[str, Any]
    stderr: str


def run_task(
    task: str,
    payload: Mapping[str, Any],
    *,
    read: Sequence[Path] = (),
    limits: SandboxLimits | None = None,
) -> SandboxResult:
    """Run ``task.run(payload)`` in a confined child process and wait for it.

    Args:
        task: Name of a module below ``service`` with a function ``run(payload) -> JSON value``.
        payload: JSON object.
        read: Files that the child may read besides the code.
        limits: Caps; the defaults of :class:`SandboxLimits` if None.

    Raises:
        OSError: The child could not be started at all.
    """
    limits = limits or SandboxLimits()
    found = sandbox_support()
    with tempfile.TemporaryDirectory(prefix="secateur-") as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        request = {
            "task": task,
            "payload": dict(payload),
            "read": [str(path) for path in read],
            "limits": asdict(limits),
            "landlock": found.landlock,
            "seccomp": found.seccomp,
        }
        request_path = folder / "request.json"
        request_path.write_text(json.dumps(request), "utf-8")
        return _watch(request_path, folder / "stderr", work, limits)


def _watch(
    request_path: Path, stderr_path: Path, work: Path, limits: SandboxLimits
) -> SandboxResult:
    command = [sys.executable, "-I", "-B", "-c", _BOOT, str(_ROOT), str(request_path)]
    deadline = time.monotonic() + limits.wall_seconds
    with stderr_path.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=work,
            env={**_ENVIRONMENT, "HOME": str(work), "TMPDIR": str(work)},
            start_new_session=True,
        )
    try:
        output = _collect(process, deadline)
    finally:
        killed = _end(process, deadline)
    tail = _tail(stderr_path)
    outcome = _classify(process.returncode, tail, killed=killed)
    answer = _parse(output) if outcome is Outcome.ANSWERED else {}
    if answer.get("memory"):
        outcome = Outcome.OUT_OF_MEMORY
    elif "result" not in answer and "error" not in answer and outcome is Outcome.ANSWERED:
        outcome = Outcome.CRASHED
    if outcome is not Outcome.ANSWERED:
        _log.warning(
            "a sandboxed child ended without an answer",
            extra={"action": "sandbox-" + outcome, "status": process.returncode},
        )
    return SandboxResult(
        outcome=outcome, answer=answer, stderr=tail.decode("utf-8", "backslashreplace")
    )


def _collect(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    """Standard output until it ends, the clock runs out, or it is too long."""
    assert process.stdout is not None
    output = b""
    with selectors.DefaultSelector() as selector, process.stdout as pipe:
        selector.register(pipe, selectors.EVENT_READ)
        while len(output) <= _STDOUT_LIMIT:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            chunk = os.read(pipe.fileno(), _STDOUT_LIMIT)
            if not chunk:
                break
            output += chunk
    return output


def _end(process: "subprocess.Popen[bytes]", deadline: float) -> bool:
    """Wait for the end until ``deadline``, then kill the whole group; whether it was killed."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def _classify(returncode: int, stderr: bytes, *, killed: bool) -> Outcome:
    if killed or returncode == -signal.SIGXCPU:
        return Outcome.TIMED_OUT
    if returncode == 0:
        return Outcome.ANSWERED
    # A SIGKILL that was not ours is the kernel's: it had to free memory.
    if returncode == -signal.SIGKILL or any(mark in stderr for mark in _MEMORY_MARKS):
        return Outcome.OUT_OF_MEMORY
    return Outcome.CRASHED


def _parse(output: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _STDERR_SHOWN))
        return file.read()
