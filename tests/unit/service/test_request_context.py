"""Ids, headers, and that no error is answered in plain text."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

from service.request_context import RequestContext
from tests.unit.service.app_client import AppClient, serving


@pytest.fixture
def client(tmp_path: Path) -> Iterator[AppClient]:
    (tmp_path / "file").write_bytes(b"0123456789")

    async def file(request: Request) -> FileResponse:
        return FileResponse(tmp_path / "file")

    async def shown(request: Request) -> JSONResponse:
        return JSONResponse({"id": request.state.request_id}, headers={"X-Frame-Options": "ALLOW"})

    async def plain(request: Request) -> PlainTextResponse:
        return PlainTextResponse("fine")

    app = Starlette(routes=[Route("/file", file), Route("/shown", shown), Route("/plain", plain)])
    app.add_middleware(RequestContext)
    with serving(app) as client:
        yield client


def test_every_request_has_an_id_of_its_own(client: AppClient) -> None:
    first, second = (client.get("/shown", headers={"X-Request-Id": "mine"}) for _ in range(2))
    assert first.headers["x-request-id"] == first.json()["id"] != second.json()["id"]
    assert first.json()["id"].startswith("req_")


def test_safe_headers_are_added_and_the_route_has_the_last_word(client: AppClient) -> None:
    headers = client.get("/shown").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "ALLOW"


def test_plain_text_that_is_no_error_stays(client: AppClient) -> None:
    assert client.get("/plain").text == "fine"


@pytest.mark.parametrize(
    "header, status, code",
    [("bytes=99-", 416, "range-not-satisfiable"), ("lines=1-2", 400, "bad-request")],
)
def test_plain_errors_become_problems(
    client: AppClient, header: str, status: int, code: str
) -> None:
    response = client.get("/file", headers={"Range": header})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["request_id"] == response.headers["x-request-id"]
    if status == 416:
        assert response.headers["content-range"] == "bytes */10"


def test_a_framework_404_is_a_problem_too(client: AppClient) -> None:
    assert client.get("/nowhere").json()["code"] == "not-found"


def test_addresses_have_a_limit(client: AppClient) -> None:
    response = client.get("/plain?" + "a" * 8200)
    assert (response.status_code, response.json()["code"]) == (414, "bad-request")
