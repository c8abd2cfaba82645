"""What the tests let a sandboxed child do; every mode of ``run`` is one misbehaviour."""

import ctypes
import errno
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from service.errors import AdmissionError


def run(payload: Mapping[str, Any]) -> Any:
    return _MODES[payload["mode"]](payload)


def _refuse(payload: Mapping[str, Any]) -> None:
    message = "no"
    raise AdmissionError(message, code="model-rank", param="node", limit=8, actual=9)


def _surroundings(payload: Mapping[str, Any]) -> dict[str, Any]:
    print("noise of a library")  # noqa: T201  # must not end up in the answer
    os.write(1, b"noise of a native library\n")
    return {
        "environment": sorted(os.environ),
        "folder": os.listdir("."),  # noqa: PTH208
        "stdin": sys.stdin.read(),
        "session": os.getsid(0) == os.getpid(),
        "niceness": os.nice(0),
        "isolated": sys.flags.isolated,
        "limits": {
            name: resource.getrlimit(getattr(resource, name))
            for name in ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CPU", "RLIMIT_AS")
        },
    }


def _attempts(payload: Mapping[str, Any]) -> dict[str, str]:
    """Try what must not work; name -> what happened."""
    tries: dict[str, Callable[[], object]] = {
        "read_input": lambda: Path(payload["allowed"]).read_text(),
        "write_own_folder": lambda: Path("scratch").write_text("x"),
        "read_other_file": lambda: Path(payload["secret"]).read_text(),
        "list_other_folder": lambda: list(Path(payload["secret"]).parent.iterdir()),
        "read_passwd": lambda: Path("/etc/passwd").read_text(),
        "write_input": lambda: Path(payload["allowed"]).write_text("changed"),
        "write_outside": lambda: Path(payload["secret"]).with_name("new").write_text("x"),
        "large_file": lambda: Path("large").write_bytes(bytes(2 * 1024**2)),
        "link": lambda: os.symlink("/etc", "etc"),  # noqa: PTH211
        "socket": lambda: socket.socket(),
        "socketpair": lambda: socket.socketpair(),
        "fork": os.fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "kill_parent": lambda: os.kill(os.getppid(), signal.SIGTERM),
        "ptrace": lambda: _syscall(101, 0, 0, 0, 0),
        "unshare": lambda: _syscall(272, 0x10000000),
        "mount": lambda: _syscall(165, None, None, None, 0, None),
        "bpf": lambda: _syscall(321, 0, None, 0),
        "clone3": lambda: _syscall(435, None, 0),
        "thread": _in_a_thread,
    }
    return {name: _outcome(attempt) for name, attempt in tries.items()}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "OSError")
    return "done"


def _syscall(number: int, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _in_a_thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def _spin(payload: Mapping[str, Any]) -> None:
    while True:
        pass


def _flood(payload: Mapping[str, Any]) -> str:
    return "x" * 1_000_000


_MODES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "echo": lambda payload: payload,
    "refuse": _refuse,
    "surroundings": _surroundings,
    "attempts": _attempts,
    "abort": lambda _: os.abort(),
    "segfault": lambda _: ctypes.string_at(0),
    "bug": lambda _: 1 / 0,
    "leave": lambda _: os._exit(0),
    "sleep": lambda _: time.sleep(60),
    "spin": _spin,
    "allocate": lambda _: len(bytearray(8 * 1024**3)),
    "flood": _flood,
}
