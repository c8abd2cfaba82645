"""The executor lock: at most one live process works under a worker's name.

Two processes with one name would run a job twice. The lock is taken before the job engine is
launched and held until the process ends, however it ends: the kernel gives it back. Whoever can
take it therefore knows that nobody alive works under that name. On SQLite, which means one host,
it is an flock; descriptors are close-on-exec, so child processes do not keep it.
"""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import ConflictError

_RETRY_SECONDS = 0.1


class ExecutorIdInUseError(ConflictError):
    """Another live process works under the same name (exit 75)."""


class ExecutorLocks:
    """Lock files below one folder, ``executor-<id>``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, executor_id: str, *, patience: float = 3.0) -> int:
        """Take a lock for the life of this process; its descriptor.

        Args:
            executor_id: The worker's name.
            patience: Seconds to keep trying: a predecessor may be just about to end.

        Raises:
            ExecutorIdInUseError: Somebody alive holds it.
        """
        deadline = time.monotonic() + patience
        while True:
            descriptor = self._try(executor_id)
            if descriptor is not None:
                return descriptor
            if time.monotonic() >= deadline:
                message = (
                    f"a worker called {executor_id!r} is already running; "
                    "stop it, or start this one with another --id"
                )
                raise ExecutorIdInUseError(message, param="SECATEUR_WORKER_ID")
            time.sleep(_RETRY_SECONDS)

    @contextmanager
    def attempt(self, executor_id: str) -> Iterator[bool]:
        """Try to take a lock; if that gives True, nobody can start under that name meanwhile."""
        descriptor = self._try(executor_id)
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def is_held(self, executor_id: str) -> bool:
        """Whether a live process works under that name."""
        with self.attempt(executor_id) as free:
            return not free

    def _try(self, executor_id: str) -> int | None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"executor-{executor_id}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


def process_start(pid: int) -> str | None:
    """When a process started, in the kernel's own ticks; None if there is no such process.

    Together with the pid it names a process for good: pids are used again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]


def evict(host: str, pid: int, started: str) -> bool:
    """Kill a frozen worker of this host; False if the process is not the one that was recorded."""
    if host != socket.gethostname() or not started or process_start(pid) != started:
        return False
    os.kill(pid, signal.SIGKILL)
    return True
