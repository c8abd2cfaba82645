"""``secateur serve``: keeps the web process and the workers running, and stops them in order.

It does nothing else, so that nothing can bring it down: no requests, no jobs, no database. A child
that ends is started again with growing pauses; if the supervisor itself is killed, the kernel tells
the children to stop.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from service.errors import RequestError
from service.settings import Settings

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STABLE_SECONDS = 10.0  # a child that lived for so long starts with short pauses again
STOP_SECONDS = 35.0  # the web process takes up to 30, a worker up to 20
_LOOK_SECONDS = 0.1
_BACKLOG = 2048
_log = logging.getLogger(__name__)


@dataclass
class Child:
    """One process that is to run for ever.

    Attributes:
        name: For the log.
        command: Program and arguments.
        environment: Its environment.
        descriptors: Open files that it inherits.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()
    clock: Callable[[], float] = time.monotonic
    process: "subprocess.Popen[bytes] | None" = None
    _started: float = 0.0
    _pause: float = FIRST_PAUSE
    _next_start: float = field(default=0.0)

    def look(self) -> None:
        """Start the process if it is due; note that it has ended if it has."""
        if self.process is None:
            if self.clock() >= self._next_start:
                self._start()
            return
        code = self.process.poll()
        if code is None:
            return
        now = self.clock()
        if now - self._started >= STABLE_SECONDS:
            self._pause = FIRST_PAUSE
        extra = {"action": "restart", "child": self.name, "exit_code": code, "pause": self._pause}
        _log.warning("a process ended and will be started again", extra=extra)
        self._next_start = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def _start(self) -> None:
        self._started = self.clock()
        self.process = subprocess.Popen(
            self.command,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            pass_fds=tuple(self.descriptors),
            start_new_session=True,  # Ctrl-C is for the supervisor, which then stops them in order
        )


class Supervisor:
    """Runs children until SIGTERM or SIGINT."""

    def __init__(self, children: Sequence[Child], *, stop_seconds: float = STOP_SECONDS) -> None:
        self._children = children
        self._stop_seconds = stop_seconds
        self._signals = 0

    def run(self) -> int:
        """Until asked to stop; 0 if every child left in time, else 1."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        while self._signals == 0:
            for child in self._children:
                child.look()
            time.sleep(_LOOK_SECONDS)
        return self._stop()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _stop(self) -> int:
        for child in self._children:
            child.signal(signal.SIGTERM)
        end = time.monotonic() + self._stop_seconds
        while any(child.is_running for child in self._children):
            if self._signals > 1 or time.monotonic() >= end:
                for child in self._children:
                    child.signal(signal.SIGKILL)
                return 1
            time.sleep(_LOOK_SECONDS)
        return 0


def listen(settings: Settings) -> socket.socket:
    """The listening socket; it lives in the supervisor, so it outlives the web process.

    Raises:
        RequestError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        listener.close()
        message = (
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another --port"
        )
        raise RequestError(message, param="SECATEUR_PORT") from error
    listener.listen(_BACKLOG)
    return listener


def web_child(settings: Settings, environment: Mapping[str, str], listener: socket.socket) -> Child:
    """The web process."""
    descriptor = listener.fileno()
    options = ("--socket", str(descriptor), "--parent", str(os.getpid()))
    return Child(
        name="api",
        command=[sys.executable, "-m", "service.api_process", *options],
        environment={**environment, **settings.to_environment()},
        descriptors=(descriptor,),
    )


def worker_child(settings: Settings, environment: Mapping[str, str], number: int) -> Child:
    """The ``number``-th worker of this host, counted from 0."""
    name = settings.worker_id if number == 0 else f"{settings.worker_id}-{number}"
    options = ("--id", name, "--parent", str(os.getpid()))
    return Child(
        name=name,
        command=[sys.executable, "-m", "service.worker_process", *options],
        environment={**environment, **settings.to_environment()},
    )
