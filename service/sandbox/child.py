"""Runs inside the child: give up rights first, then do the task, then print one JSON object.

The order matters. Limits and Landlock come before the imports, so that threads which a library
starts are confined as well; seccomp comes after them, since imports may need more. Only
then is the task's input touched.
"""

import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graph_analysis.errors import SecateurError
from service.sandbox import landlock, seccomp
from service.sandbox.syscalls import PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, machine, prctl

_NICENESS = 10
_CPU_GRACE_SECONDS = 2  # between SIGXCPU, which can be told apart, and the kernel's SIGKILL
_OPEN_FILES = 64
_STACK_BYTES = 8 * 1024 * 1024
_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_DEVICES = ("/dev/null", "/dev/urandom")


def main(arguments: Sequence[str]) -> None:
    """Carry out the request whose file is the first argument; exits, never returns a value."""
    request = json.loads(Path(arguments[0]).read_text("utf-8"))
    answer_descriptor = _claim_standard_output()
    _limit(request["limits"])
    _confine(request)
    task = importlib.import_module(request["task"])
    _confine_calls(request)
    answer = _answer(task.run, request["payload"])
    with os.fdopen(answer_descriptor, "w", encoding="utf-8") as file:
        json.dump(answer, file)


def _claim_standard_output() -> int:
    """Keep the pipe to the parent to ourselves; whatever libraries print goes to stderr."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def _limit(limits: Mapping[str, Any]) -> None:
    """Resource limits that need no privileges."""
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICENESS)
    cpu = int(limits["cpu_seconds"])
    _set(resource.RLIMIT_CPU, cpu, cpu + _CPU_GRACE_SECONDS)
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_STACK, _STACK_BYTES),
        (resource.RLIMIT_FSIZE, int(limits["file_bytes"])),
        (resource.RLIMIT_AS, int(limits["memory_bytes"])),
    ):
        _set(kind, value, value)


def _set(kind: int, soft: int, hard: int) -> None:
    """Lower a limit; never above what this process was given."""
    ceiling = resource.getrlimit(kind)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


def _confine(request: Mapping[str, Any]) -> None:
    """No new privileges; files by Landlock if the parent found it."""
    if machine() is not None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if request["landlock"]:
        readable = [*_code_folders(), *(Path(path) for path in request["read"])]
        landlock.restrict(read=readable, write=[Path.cwd()])


def _confine_calls(request: Mapping[str, Any]) -> None:
    """System calls by seccomp if the parent found it."""
    if request["seccomp"]:
        seccomp.deny()


def _code_folders() -> list[Path]:
    """Where Python code and shared libraries are; never the data of the service."""
    own = Path(__file__).resolve().parents[2]
    folders = [own / "service", own / "graph_analysis", Path(sys.prefix), Path(sys.base_prefix)]
    folders += [Path(name) for name in (*_LIBRARY_FOLDERS, *_DEVICES)]
    return folders + [path for entry in sys.path if (path := Path(entry).resolve()) != own]


def _answer(run: Any, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What the task returned or refused; a bug in it ends the process with a traceback."""
    try:
        return {"result": run(payload)}
    except SecateurError as error:
        facts = {name: getattr(error, name, None) for name in ("param", "limit", "actual")}
        return {"error": {"code": error.code, "message": str(error), **facts}}
    except MemoryError:
        return {"memory": True}
