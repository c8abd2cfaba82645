"""Fetching from hosts that behave, misbehave and lie; all of them on loopback."""

import socket
import threading
from pathlib import Path

import pytest

from service.datasets import DatasetPolicy, check_uri
from service.datasets.fetch import Fetched, fetch
from service.datasets.npz import has_end_record
from service.errors import DatasetError
from tests.unit.service.datasets.archives import digits, npz
from tests.unit.service.datasets.hosts import Clock, Host, host, policy, redirects, sends

_BODY = npz(**digits())


def _fetch(
    made: Host, target: Path, rules: DatasetPolicy | None = None, clock: Clock | None = None
) -> Fetched:
    rules = rules or policy(made)
    uri = check_uri(f"http://data.example.com:{made.port}/digits.npz", network=rules.network)
    timing = {} if clock is None else {"clock": clock}
    return fetch(
        uri, target, rules, is_complete=has_end_record, sleep=(clock or Clock()).sleep, **timing
    )


def _failure(*args: object, **kwargs: object) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        _fetch(*args, **kwargs)  # type: ignore[arg-type]
    return caught.value


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "dataset.npz"


def test_the_bytes_arrive(target: Path) -> None:
    with host(sends(_BODY)) as made:
        fetched = _fetch(made, target)
    assert target.read_bytes() == _BODY
    assert fetched.bytes == len(_BODY)
    assert len(fetched.sha256) == 64
    request = made.requests[0].lower()
    assert request.startswith("get /digits.npz http/1.1")
    assert f"host: data.example.com:{made.port}" in request
    assert "accept-encoding: identity" in request
    assert "authorization" not in request
    assert "cookie" not in request


def test_proxies_of_the_environment_are_ignored(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with host(sends(_BODY)) as made:
        assert _fetch(made, target).bytes == len(_BODY)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_passing_trouble_is_retried(status: int, target: Path) -> None:
    clock = Clock()
    with host(sends(status=status), sends(status=status), sends(_BODY)) as made:
        assert _fetch(made, target, clock=clock).bytes == len(_BODY)
    assert clock.sleeps == [1.0, 2.0]


def test_lasting_trouble_is_unavailable(target: Path) -> None:
    clock = Clock()
    with host(sends(status=503)) as made:
        error = _failure(made, target, clock=clock)
    assert error.code == "dataset-unavailable"
    assert clock.sleeps == [1.0, 2.0, 4.0]
    assert len(made.requests) == 4
    assert not target.exists()


def test_the_host_may_ask_for_patience(target: Path) -> None:
    clock = Clock()
    slow = sends(status=503, headers="Retry-After: 7\r\n")
    rude = sends(status=503, headers="Retry-After: 99999\r\n")
    with host(slow, rude, sends(_BODY)) as made:
        _fetch(made, target, clock=clock)
    assert clock.sleeps == [7.0, 60.0]


def test_no_retry_past_the_deadline(target: Path) -> None:
    clock = Clock()
    with host(sends(status=503)) as made:
        error = _failure(made, target, policy(made, total_seconds=2.5), clock)
    assert error.code == "dataset-unavailable"
    assert clock.sleeps == [1.0]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204, 206, 304, 418])
def test_other_statuses_are_final(status: int, target: Path) -> None:
    with host(sends(status=status, length=None)) as made:
        error = _failure(made, target)
    assert (error.code, error.details) == ("dataset-http-status", {"status": status})
    assert len(made.requests) == 1


def test_nobody_listens(target: Path) -> None:
    with host(sends()) as made:
        pass
    clock = Clock()
    assert _failure(made, target, clock=clock).code == "dataset-unavailable"
    assert len(clock.sleeps) == 3


def test_an_unknown_name(target: Path) -> None:
    def fail(name: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "unknown")

    with host(sends()) as made:
        error = _failure(made, target, policy(made, resolve=fail))
    assert error.code == "dataset-unavailable"


@pytest.mark.parametrize(
    "handler",
    [
        sends(_BODY[:100], length=len(_BODY)),
        sends(b"64\r\n" + _BODY[:50], length=None, headers="Transfer-Encoding: chunked\r\n"),
        sends(_BODY[:-30], length=None),  # delimited by the end of the connection
    ],
    ids=["length", "chunked", "close"],
)
def test_an_early_end_is_retried_and_then_truncated(handler: object, target: Path) -> None:
    with host(handler) as made:  # type: ignore[arg-type]
        error = _failure(made, target)
    assert error.code == "dataset-truncated"
    assert len(made.requests) == 4
    with host(handler, sends(_BODY)) as made:  # type: ignore[arg-type]
        assert _fetch(made, target).bytes == len(_BODY)


def test_no_length_is_fine_with_an_end_mark(target: Path) -> None:
    with host(sends(_BODY, length=None)) as made:
        assert _fetch(made, target).bytes == len(_BODY)


def test_garbage_instead_of_http(target: Path) -> None:
    with host(lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")) as made:
        assert _failure(made, target).code == "dataset-unavailable"


def test_too_large_declared_and_streamed(target: Path) -> None:
    with host(sends(_BODY, length=10**15)) as made:
        error = _failure(made, target, policy(made, file_bytes=1000))
    assert (error.code, error.actual) == ("dataset-too-large", 10**15)
    with host(sends(_BODY, length=None)) as made:
        error = _failure(made, target, policy(made, file_bytes=1000))
    assert (error.code, error.limit) == ("dataset-too-large", 1000)
    assert not target.exists()


def test_compressed_answers_are_refused(target: Path) -> None:
    with host(sends(b"\x1f\x8b", headers="Content-Encoding: gzip\r\n")) as made:
        assert _failure(made, target).code == "dataset-format"
    with host(sends(_BODY, headers="Content-Encoding: identity\r\n")) as made:
        assert _fetch(made, target).bytes == len(_BODY)


def _hangs(released: threading.Event, drip: bytes = b"") -> object:
    def handler(connection: socket.socket, request: str) -> None:
        if drip:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not released.wait(0.05):
            connection.sendall(drip)

    return handler


@pytest.mark.parametrize("drip", [b"", b"x"], ids=["hangs", "drips"])
def test_the_total_deadline_holds(drip: bytes, target: Path) -> None:
    released = threading.Event()
    with host(_hangs(released, drip)) as made:  # type: ignore[arg-type]
        error = _failure(made, target, policy(made, total_seconds=0.4))
        released.set()
    assert error.code == "dataset-timeout"
    assert len(made.requests) == 1
    assert not target.exists()


def test_dripping_headers_do_not_outlive_the_deadline(target: Path) -> None:
    released = threading.Event()

    def handler(connection: socket.socket, request: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not released.wait(0.05):
            connection.sendall(b"X-Drip: 1\r\n")

    with host(handler) as made:
        error = _failure(made, target, policy(made, total_seconds=0.4))
        released.set()
    assert error.code == "dataset-timeout"


def test_a_stall_is_retried(target: Path) -> None:
    released = threading.Event()
    with host(_hangs(released), sends(_BODY)) as made:  # type: ignore[arg-type]
        threading.Timer(0.5, released.set).start()
        rules = policy(made, total_seconds=30.0, stall_seconds=0.3)
        assert _fetch(made, target, rules).bytes == len(_BODY)


def test_redirects_are_followed_three_times(target: Path) -> None:
    with host(redirects("/a"), redirects("b", 307), redirects("/c", 301), sends(_BODY)) as made:
        assert _fetch(made, target).bytes == len(_BODY)
    assert [request.split()[1] for request in made.requests] == ["/digits.npz", "/a", "/b", "/c"]
    with host(redirects("/loop")) as made:
        error = _failure(made, target)
    assert error.code == "dataset-uri-forbidden"
    assert len(made.requests) == 4


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://localhost/x", "dataset-uri-forbidden"),
        ("http://169.254.169.254/latest/meta-data", "dataset-uri-forbidden"),
        ("http://2130706433/", "dataset-uri-forbidden"),
        ("http://other.example.com:22/", "dataset-uri-forbidden"),
        ("file:///etc/passwd", "dataset-uri-forbidden"),
        ("http://user:pw@other.example.com/x", "dataset-uri-credentials"),
        ("ftp://other.example.com/x", "dataset-scheme"),
    ],
)
def test_redirects_are_checked(location: str, code: str, target: Path) -> None:
    with host(redirects(location), sends(_BODY)) as made:
        error = _failure(made, target)
    assert error.code == code
    assert len(made.requests) == 1


def test_a_redirect_to_a_name_that_leads_inside(target: Path) -> None:
    """The host of the first address is fine; the second name leads to a forbidden address."""

    def resolve(name: str, port: int) -> list[str]:
        return ["127.0.0.1"] if name == "data.example.com" else ["192.0.2.1"]

    with host(redirects("http://evil.example.com:{port}/"), sends(_BODY)) as made:
        made._handlers[0] = redirects(f"http://evil.example.com:{made.port}/")
        error = _failure(made, target, policy(made, resolve=resolve))
    assert error.code == "dataset-uri-forbidden"
    assert len(made.requests) == 1


def test_encrypted_addresses_stay_encrypted(target: Path) -> None:
    from service.datasets.fetch import _redirected

    uri = check_uri("https://data.example.com/x")
    with pytest.raises(DatasetError) as caught:
        _redirected(uri, {"location": "http://data.example.com/x"}, DatasetPolicy())
    assert caught.value.code == "dataset-uri-forbidden"
    assert _redirected(uri, {"location": "/y"}, DatasetPolicy()).text.endswith("/y")
