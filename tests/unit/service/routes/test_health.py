"""Health, readiness, pages of the codes."""

from pathlib import Path

import pytest

from service.errors import UnavailableError
from service.problems import KINDS
from tests.unit.service.api import Api


def test_the_process_answers_without_a_key(api: Api) -> None:
    response = api.anonymous.get("/healthz")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"


def test_ready_means_database_store_and_a_worker(api: Api) -> None:
    response = api.anonymous.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": "ok", "store": "ok", "worker": "ok"},
    }


def test_each_part_can_be_missing(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.workers.names = ()
    answer = api.anonymous.get("/readyz")
    assert answer.status_code == 503
    assert "secateur worker" in answer.json()["checks"]["worker"]
    (tmp_path / "store/objects").rename(tmp_path / "away")

    def fail() -> None:
        message = "secret path"
        raise UnavailableError(message)

    monkeypatch.setattr(api.store, "ping", fail)
    monkeypatch.setattr(api.workers, "live", fail, raising=False)
    checks = api.anonymous.get("/readyz").json()["checks"]
    assert checks["database"] == "the database cannot be read"
    assert checks["store"] == "the artifact store cannot be written"
    assert checks["worker"] == "the workers cannot be counted"


def test_every_code_has_a_page(api: Api) -> None:
    for code in KINDS:
        page = api.anonymous.get(f"/problems/{code}")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
    assert "model-not-onnx" in api.anonymous.get("/problems").text
    unknown = api.anonymous.get("/problems/nobody-knows")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")
