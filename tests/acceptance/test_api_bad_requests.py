"""Requests that break the rules of HTTP, byte by byte against a real server."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.unit.service.api import Api, running_api
from tests.unit.service.live_server import serving_live

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api"), serve=serving_live) as api:
        yield api


def connect(api: Api) -> socket.socket:
    port = int(api.anonymous.url.rsplit(":", 1)[1])
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def send(api: Api, content: bytes) -> Answer:
    """Send raw bytes and read the whole answer."""
    answer = b""
    with connect(api) as connection:
        connection.sendall(content)
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (x.split(":", 1) for x in lines)}
    return int(first.split()[1]), headers, body


def head_of(api: Api, *lines: str, first: str = "POST /v1/jobs HTTP/1.1") -> bytes:
    key = f"Authorization: Bearer {api.key}"
    return "\r\n".join(
        [first, "Host: 127.0.0.1", key, "Connection: close", *lines, "", ""]
    ).encode()


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: -5",),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: five",),
        ("Bad Header: x",),
        ("X-Long: " + "a" * 200_000,),
    ],
    ids=["two lengths", "negative", "contradiction", "no number", "space", "long header"],
)
def test_broken_headers_are_a_problem_with_status_400(api: Api, lines: tuple[str, ...]) -> None:
    try:
        status, headers, body = send(api, head_of(api, *lines))
    except ConnectionResetError:
        return  # hung up before the whole header was sent
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert json.loads(body)["code"] == "bad-request"


def test_a_long_address_is_a_414(api: Api) -> None:
    first = "GET /v1/jobs?" + "a" * 9000 + " HTTP/1.1"
    status, headers, body = send(api, head_of(api, first=first))
    assert (status, headers["content-type"]) == (414, "application/problem+json")
    assert json.loads(body)["code"] == "bad-request"


def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    answer = api.client.request("PUT", "/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert {"GET", "POST"} >= set(answer.headers["allow"].split(", "))


def test_a_body_where_none_belongs_is_limited(api: Api) -> None:
    job_id = api.submit()
    lines = ("Content-Length: 50000000",)
    first = f"POST /v1/jobs/{job_id}/cancel HTTP/1.1"
    status, _, body = send(api, head_of(api, *lines, first=first) + b"x" * 1000)
    assert status in (200, 413)  # not read, or refused; never waited for
    assert json.loads(body)


def chunked(api: Api, content: bytes, *, end: bool) -> bytes:
    head = head_of(
        api,
        "Transfer-Encoding: chunked",
        "Content-Type: multipart/form-data; boundary=B",
    )
    form = b'--B\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n' + content
    return head + b"%x\r\n" % len(form) + form + b"\r\n" + (b"0\r\n\r\n" if end else b"")


def test_an_endless_upload_without_a_length_is_a_413(api: Api) -> None:
    limit = api.settings.inline_limit
    status, _, body = send(api, chunked(api, b"x" * (limit + 1000), end=False))
    problem = json.loads(body)
    assert (status, problem["code"], problem["limit"]) == (413, "model-too-large", limit)
    assert api.leftovers() == []


def test_a_body_that_ends_early_is_a_400(api: Api) -> None:
    status, _, body = send(api, chunked(api, b"x", end=True))
    assert (status, json.loads(body)["code"]) == (400, "body-incomplete")


def test_clients_that_leave_during_an_upload_leave_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    before = api.objects()
    with caplog.at_level("INFO"):
        for _ in range(30):
            with connect(api) as connection:
                connection.sendall(chunked(api, b"x" * 1000, end=False))
        gone = threading.Event()
        for _ in range(200):
            if not api.leftovers() and caplog.text.count("client left") >= 30:
                break
            gone.wait(0.05)
    assert api.leftovers() == []
    assert api.objects() == before
    assert "Traceback" not in caplog.text
    assert caplog.text.count("client left") == 30
    assert api.anonymous.get("/healthz").status_code == 200
