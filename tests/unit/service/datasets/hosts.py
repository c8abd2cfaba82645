"""Real loopback servers that behave and misbehave, and policies whose resolver leads to them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.datasets import DatasetLimits, DatasetPolicy, NetworkPolicy

Handler = Callable[[socket.socket, str], None]
LOOPBACK = "127.0.0.1"


class Host:
    """Answers every connection with the next handler; the last one serves the rest."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = list(handlers)
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        request = b""
        try:
            while b"\r\n\r\n" not in request:
                chunk = connection.recv(4096)
                if not chunk:
                    return
                request += chunk
            self.requests.append(request.decode())
            handler = self._handlers.pop(0) if len(self._handlers) > 1 else self._handlers[0]
            handler(connection, request.decode())
        except OSError:  # the client gave up, which some tests are about
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@contextmanager
def host(*handlers: Handler) -> Iterator[Host]:
    made = Host(*handlers)
    try:
        yield made
    finally:
        made.close()


def sends(
    body: bytes = b"", *, status: int = 200, length: int | None = -1, headers: str = ""
) -> Handler:
    """An ordinary answer; ``length`` -1 tells the truth, None tells nothing."""

    def handler(connection: socket.socket, request: str) -> None:
        declared = len(body) if length == -1 else length
        lines = f"HTTP/1.1 {status} Some\r\nConnection: close\r\n{headers}"
        if declared is not None:
            lines += f"Content-Length: {declared}\r\n"
        connection.sendall(lines.encode() + b"\r\n" + body)

    return handler


def redirects(target: str, status: int = 302) -> Handler:
    return sends(status=status, headers=f"Location: {target}\r\n")


def policy(
    made: Host | None = None,
    *,
    resolve: Callable[[str, int], list[str]] | None = None,
    **limits: float,
) -> DatasetPolicy:
    """A policy under which every name leads to loopback, on any port."""
    port = 80 if made is None else made.port
    network = NetworkPolicy(
        ports=frozenset({port}),
        permits=lambda address: str(address) == LOOPBACK,
        resolve=resolve or (lambda *_: [LOOPBACK]),
    )
    return DatasetPolicy(network=network, limits=DatasetLimits(**limits))  # type: ignore[arg-type]


class Clock:
    """Time that only passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps.append(seconds)
