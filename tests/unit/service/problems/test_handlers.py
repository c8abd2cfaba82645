"""Everything that leaves a route becomes a problem document."""

import errno
from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import FastAPI, Header, Query
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from starlette.requests import ClientDisconnect

from graph_analysis.errors import ModelError, SecateurError
from service.errors import IdempotencyKeyInProgressError, UnauthenticatedError
from service.problems import install_handlers
from service.request_context import RequestContext
from tests.unit.service.app_client import AppClient, serving

ERRORS = {
    "model": ModelError("it ends early", code="model-truncated"),
    "own": SecateurError("password is hunter2"),
    "key": UnauthenticatedError("no valid key"),
    "busy": IdempotencyKeyInProgressError("wait"),
    "database": OperationalError("SELECT secret", {}, Exception("locked")),
    "full": OSError(errno.ENOSPC, "no space on /secret"),
    "system": OSError(errno.EIO, "broken /secret"),
    "left": ClientDisconnect(),
    "bug": RuntimeError("secret"),
}


class Body(BaseModel):
    epochs: int = Field(ge=1, le=10)
    name: str = ""


@pytest.fixture(scope="module")
def client() -> Iterator[AppClient]:
    app = FastAPI()
    install_handlers(app)
    app.add_middleware(RequestContext)

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise ERRORS[name]

    @app.post("/body")
    async def body(body: Body, limit: Annotated[int, Query(le=5)] = 1) -> None:
        return None

    @app.get("/header")
    async def header(x_count: Annotated[int, Header()]) -> None:
        return None

    with serving(app) as client:
        yield client


@pytest.mark.parametrize(
    "name, status, code",
    [
        ("model", 422, "model-truncated"),
        ("own", 500, "internal"),
        ("key", 401, "unauthenticated"),
        ("busy", 409, "idempotency-key-in-progress"),
        ("database", 503, "unavailable"),
        ("full", 507, "insufficient-storage"),
        ("system", 500, "internal"),
        ("left", 400, "body-incomplete"),
        ("bug", 500, "internal"),
    ],
)
def test_errors_have_their_status_and_tell_no_secrets(
    client: AppClient, name: str, status: int, code: str
) -> None:
    response = client.get(f"/raise/{name}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["request_id"] == response.headers["x-request-id"]
    assert not {"secret", "hunter2"} & set(response.text.split())
    assert "secret" not in response.text


def test_headers_that_a_code_requires(client: AppClient) -> None:
    assert client.get("/raise/key").headers["www-authenticate"] == "Bearer"
    assert client.get("/raise/database").headers["retry-after"] == "1"
    assert "retry-after" not in client.get("/raise/model").headers
    assert client.get("/raise/model").headers["cache-control"] == "no-store"


def test_validation_errors_name_the_parameter_and_never_echo(client: AppClient) -> None:
    response = client.post("/body", json={"epochs": 98765, "name": 5})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid-request")
    assert (problem["param"], problem["limit"]) == ("/epochs", 10)
    assert [error["param"] for error in problem["errors"]] == ["/epochs", "/name"]
    assert "98765" not in response.text
    single = client.post("/body?limit=77", json={"epochs": 1}).json()
    assert (single["param"], single["limit"]) == ("/limit", 5)
    assert "errors" not in single
    assert client.get("/header", headers={"X-Count": "hunter2"}).json()["param"] == "/x-count"


@pytest.mark.parametrize("content", [b"{", b'{"epochs": NaN2}'])
def test_broken_json_is_a_400(client: AppClient, content: bytes) -> None:
    response = client.post("/body", content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid-json")


def test_the_framework_s_own_errors(client: AppClient) -> None:
    assert client.get("/nowhere").json()["code"] == "not-found"
    response = client.delete("/body")
    assert response.json()["code"] == "method-not-allowed"
    assert response.headers["allow"] == "POST"
