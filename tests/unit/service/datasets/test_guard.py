"""The guard at connect time: names that lead to private addresses, rebinding, deadlines."""

import socket
from collections.abc import Callable, Iterator

import httpcore
import pytest

from service.datasets import NetworkPolicy
from service.datasets.guard import Deadline, GuardedBackend, _GuardedStream
from service.errors import DatasetError
from tests.unit.service.datasets.hosts import Clock


@pytest.fixture
def canary() -> Iterator[socket.socket]:
    """A loopback listener that nobody may reach."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


def _connect(
    resolve: Callable[[str, int], list[str]], port: int = 80, **policy: object
) -> httpcore.NetworkStream:
    network = NetworkPolicy(resolve=resolve, **policy)  # type: ignore[arg-type]
    return GuardedBackend(network, Deadline(5.0)).connect_tcp("data.example.com", port, 1.0)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["8.8.8.8", "127.0.0.1"],  # one bad address spoils the name
        ["192.0.2.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        ["not an address"],
    ],
)
def test_names_that_lead_inside(addresses: list[str], canary: socket.socket) -> None:
    port = canary.getsockname()[1]
    with pytest.raises(DatasetError) as caught:
        _connect(lambda *_: addresses, port, ports=frozenset({port}))
    assert caught.value.code == "dataset-uri-forbidden"


def test_ports_are_limited(canary: socket.socket) -> None:
    with pytest.raises(DatasetError) as caught:
        _connect(lambda *_: ["8.8.8.8"], canary.getsockname()[1])
    assert caught.value.code == "dataset-uri-forbidden"


def test_rebinding_does_not_help(canary: socket.socket) -> None:
    """The name is resolved once per connection, and what was judged is what is connected to."""
    answers = [["127.0.0.1"]]
    port = canary.getsockname()[1]
    with pytest.raises(DatasetError):
        _connect(lambda *_: answers.pop(), port, ports=frozenset({port}))
    assert answers == []


def test_unknown_names_are_connection_errors() -> None:
    def fail(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "unknown")

    with pytest.raises(httpcore.ConnectError):
        _connect(fail)
    with pytest.raises(httpcore.ConnectError):
        _connect(lambda *_: [])


def test_the_next_address_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stream = _connect(
            lambda *_: ["127.0.0.2", "127.0.0.1"], port,
            ports=frozenset({port}), permits=lambda _: True,
        )  # fmt: skip
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        stream.close()
    with pytest.raises(httpcore.ConnectError):
        _connect(lambda *_: ["127.0.0.1"], port, ports=frozenset({port}), permits=lambda _: True)


class _Inner(httpcore.NetworkStream):
    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return b"x"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.timeouts.append(timeout)

    def start_tls(self, *_: object, **__: object) -> httpcore.NetworkStream:
        return self


def test_every_operation_obeys_the_deadline() -> None:
    clock, inner = Clock(), _Inner()
    stream = _GuardedStream(inner, Deadline(10.0, clock)).start_tls(None)  # type: ignore[arg-type]
    stream.read(1, 60.0)
    clock.sleep(7.0)
    stream.write(b"x", 60.0)
    stream.read(1, 1.0)
    stream.read(1)
    assert inner.timeouts == [10.0, 3.0, 1.0, 3.0]
    clock.sleep(3.0)
    with pytest.raises(DatasetError) as caught:
        stream.read(1, 60.0)
    assert caught.value.code == "dataset-timeout"
