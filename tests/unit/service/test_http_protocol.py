"""Slow clients are hung up on, honest ones are not, and open streams end on shutdown.

Times are short here; what is asserted is who is cut off, never how fast.
"""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.http_protocol import DeadlineProtocol
from tests.unit.service.api import Api, running_api
from tests.unit.service.live_server import serving_live


class Hasty(DeadlineProtocol):
    header_seconds = 0.5
    stall_seconds = 0.5
    grace_seconds = 1.0
    lowest_rate = 1000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with running_api(folder, serve=lambda app: serving_live(app, Hasty)) as api:
        yield api


def connect(api: Api) -> socket.socket:
    port = int(api.anonymous.url.rsplit(":", 1)[1])
    return socket.create_connection(("127.0.0.1", port), timeout=15)


def is_cut_off(connection: socket.socket) -> bool:
    """Whether the server hangs up without an answer."""
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_half_a_header_is_not_waited_for(api: Api) -> None:
    with connect(api) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert is_cut_off(connection)


def test_a_header_that_drips_is_cut_off(api: Api) -> None:
    with connect(api) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        try:
            for number in range(100):
                connection.sendall(b"X-%d: 1\r\n" % number)
                time.sleep(0.1)
        except (ConnectionResetError, BrokenPipeError):
            return
        pytest.fail("the server went on listening")


def _begin_upload(api: Api, connection: socket.socket, length: int) -> None:
    head = (
        "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {api.key}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n"
        f"Content-Length: {length}\r\n\r\n"
        '--B\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n'
    )
    connection.sendall(head.encode())


def wait_until_clean(api: Api) -> None:
    end = time.monotonic() + 10
    while api.leftovers() and time.monotonic() < end:
        time.sleep(0.05)
    assert api.leftovers() == []


def test_a_body_that_stalls_is_cut_off_and_leaves_nothing(api: Api) -> None:
    with connect(api) as connection:
        _begin_upload(api, connection, 100_000)
        assert is_cut_off(connection)
    wait_until_clean(api)


def test_a_body_that_drips_is_cut_off(api: Api) -> None:
    with connect(api) as connection:
        _begin_upload(api, connection, 100_000)
        try:
            for _ in range(200):
                connection.sendall(b"x")
                time.sleep(0.05)
        except (ConnectionResetError, BrokenPipeError):
            return wait_until_clean(api)
        pytest.fail("the server went on listening")


def test_an_honest_slow_upload_passes(api: Api) -> None:
    ending = (
        b'\r\n--B\r\nContent-Disposition: form-data; name="dataset"\r\n\r\nftp://x\r\n--B--\r\n'
    )
    start = b'--B\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n'
    with connect(api) as connection:
        _begin_upload(api, connection, len(start) + 15 * 1000 + len(ending))
        for _ in range(15):
            connection.sendall(b"x" * 1000)
            time.sleep(0.1)
        connection.sendall(ending)
        answer = connection.recv(10_000)
    assert b"HTTP/1.1 422" in answer


def test_a_long_answer_is_not_cut_off(api: Api) -> None:
    job_id = api.submit()
    answer = api.client.get(f"/v1/jobs/{job_id}?wait=1.5")
    assert answer.json()["status"] == "queued"


def test_a_pipelined_request_is_served_to_its_end(api: Api) -> None:
    job_id = api.submit()
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
    text = f"GET /healthz HTTP/1.1\r\n{head}\r\n" + (
        f"GET /v1/jobs/{job_id}?wait=1.5 HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
    )
    with connect(api) as connection:
        connection.sendall(text.encode())
        answer = b""
        while chunk := connection.recv(10_000):
            answer += chunk
    assert answer.count(b"HTTP/1.1 200") == 2


def test_open_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    ended: list[str] = []
    with running_api(tmp_path, serve=serving_live) as api:
        job_id = api.submit()

        def listen() -> None:
            headers = {"Accept": "text/event-stream"}
            ended.append(api.client.get(f"/v1/jobs/{job_id}/events", headers=headers).text)

        listener = threading.Thread(target=listen)
        listener.start()
        time.sleep(0.3)
    listener.join(10)
    assert not listener.is_alive()
    assert len(ended) == 1
