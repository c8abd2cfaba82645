"""The OpenAPI document: a stranger can build a client from it."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from service.problems import KINDS
from service.recipe import Recipe
from tests.unit.service.api import Api, running_api


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_is_there_once(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert sorted(ids) == sorted(set(ids))
    assert {f"{method.upper()} {path}" for method, path, _ in operations(document)} == {
        "GET /healthz",
        "GET /readyz",
        "GET /problems",
        "GET /problems/{code}",
        "POST /v1/jobs",
        "GET /v1/jobs",
        "GET /v1/jobs/{job_id}",
        "DELETE /v1/jobs/{job_id}",
        "POST /v1/jobs/{job_id}/cancel",
        "GET /v1/jobs/{job_id}/events",
        "GET /v1/jobs/{job_id}/exports/{form}",
        "GET /v1/jobs/{job_id}/model",
        "GET /v1/jobs/{job_id}/report",
        "GET /v1/jobs/{job_id}/page",
        "GET /v1/jobs/{job_id}/solution",
        "GET /v1/jobs/{job_id}/space",
    }


def test_every_operation_is_described_and_protected(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        if path.startswith("/v1"):
            assert operation["security"] == [{"key": []}]
            assert {"401", "403", "503"} <= set(operation["responses"])
        else:
            assert "security" not in operation


def test_errors_are_problems_with_known_codes(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status < "400" or (operation["operationId"], status) == ("get_readiness", "503"):
                continue
            assert list(answer["content"]) == ["application/problem+json"]
            codes = re.findall(r"`([a-z-]+)`", answer["description"])
            assert codes
            assert set(codes) <= set(KINDS)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_form_is_described(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]
    schema = body["schema"]
    assert schema["required"] == ["model"]
    assert {"model", "dataset", "job", "target_macs", "epochs"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert all(properties[field.name]["description"] for field in fields(Recipe))
    assert properties["start"]["enum"] == ["pretrained", "scratch"]
    assert properties["start"]["default"] == "pretrained"
    assert (properties["early_stop"]["default"], properties["mixup"]["default"]) == ("false", "0.0")
    assert "default" not in properties["ema_decay"]
    assert properties["kinds"]["default"] == "channel,head,operator"
    events = document["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]
    assert set(events) == {"application/json", "text/event-stream"}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(document)))
    assert "#/components/schemas/JobRequest" in references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_the_page_shows_every_route(api: Api) -> None:
    page = api.anonymous.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "POST /v1/jobs" in page.text
    assert "<script" not in page.text


def test_outside_of_this_machine_documentation_needs_a_key(tmp_path: Path) -> None:
    with running_api(tmp_path, host="0.0.0.0") as api:
        for path in ("/docs", "/openapi.json"):
            assert api.anonymous.get(path).status_code == 401
            assert api.client.get(path).status_code == 200
