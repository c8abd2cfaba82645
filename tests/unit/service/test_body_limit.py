"""The limit on bodies, declared or not."""

from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.body_limit import BodyLimit
from tests.unit.service.app_client import AppClient, serving


async def chunks() -> AsyncIterator[bytes]:
    yield b"x" * 6
    yield b"x" * 6


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client() -> Iterator[AppClient]:
    routes = [Route("/a", echo, methods=["POST"]), Route("/free", echo, methods=["POST"])]
    app = Starlette(routes=routes)
    app.add_middleware(BodyLimit, limit=10, exempt=[("POST", "/free")])
    with serving(app) as client:
        yield client


def test_bodies_up_to_the_limit_pass(client: AppClient) -> None:
    assert client.post("/a", content=b"x" * 10).text == "10"


def test_longer_ones_are_refused_with_and_without_a_declared_length(client: AppClient) -> None:
    assert client.post("/a", content=b"x" * 11).status_code == 413
    chunked = client.post("/a", content=chunks())
    assert chunked.status_code == 413
    assert client.post("/a", content=b"x", headers={"Content-Length": "-5"}).status_code == 200


def test_exempt_routes_count_for_themselves(client: AppClient) -> None:
    assert client.post("/free", content=b"x" * 11).text == "11"
