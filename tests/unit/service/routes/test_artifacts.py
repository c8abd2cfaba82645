"""Downloads: ranges, digests, and that no wrong byte ever leaves."""

import base64
import hashlib
from typing import get_args

import pytest

from service.export_names import FORMATS
from service.routes.artifacts import ExportFormat
from tests.unit.service.api import COMPRESSED, Api

DIGEST = hashlib.sha256(COMPRESSED).hexdigest()


@pytest.fixture
def job_id(api: Api) -> str:
    job_id = api.submit()
    api.succeed(job_id)
    return job_id


def test_the_model_comes_with_its_digest(api: Api, job_id: str) -> None:
    response = api.client.get(f"/v1/jobs/{job_id}/model")
    assert response.content == COMPRESSED
    assert response.headers["etag"] == f'"sha256-{DIGEST}"'
    value = base64.b64encode(hashlib.sha256(COMPRESSED).digest()).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{value}:"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == f'attachment; filename="{job_id}-model.onnx"'


@pytest.mark.parametrize("name", ["report", "solution", "space"])
def test_the_other_files_are_json(api: Api, job_id: str, name: str) -> None:
    response = api.client.get(f"/v1/jobs/{job_id}/{name}")
    assert response.json() == {"name": name}
    assert response.headers["content-type"] == "application/json"
    assert f"{job_id}-{name}.json" in response.headers["content-disposition"]


def test_the_page_is_a_file_to_keep_and_never_shown_in_place(api: Api, job_id: str) -> None:
    response = api.client.get(f"/v1/jobs/{job_id}/page")
    assert response.headers["content-type"].startswith("text/html")
    expected = f'attachment; filename="{job_id}-page.html"'
    assert response.headers["content-disposition"] == expected
    assert response.headers["x-content-type-options"] == "nosniff"


def test_further_formats_have_names_of_their_own(api: Api) -> None:
    job_id = api.submit()
    api.succeed(job_id, formats=("int8", "bundle"))
    for form, suffix in (("int8", ".int8.onnx"), ("bundle", ".bundle.zip")):
        response = api.client.get(f"/v1/jobs/{job_id}/exports/{form}")
        assert response.json() == {"name": form}
        assert f'filename="{job_id}{suffix}"' in response.headers["content-disposition"]
    missing = api.client.get(f"/v1/jobs/{job_id}/exports/ort")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    unknown = api.client.get(f"/v1/jobs/{job_id}/exports/int4")
    assert unknown.status_code in (404, 422)
    assert set(get_args(ExportFormat)) == set(FORMATS)


def test_parts_of_the_file(api: Api, job_id: str) -> None:
    path = f"/v1/jobs/{job_id}/model"
    etag = f'"sha256-{DIGEST}"'
    part = api.client.get(path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, COMPRESSED[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(COMPRESSED)}"
    rest = api.client.get(path, headers={"Range": "bytes=9990-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, COMPRESSED[9990:])
    other = api.client.get(path, headers={"Range": "bytes=9990-", "If-Range": '"sha256-0"'})
    assert (other.status_code, other.content) == (200, COMPRESSED)
    beyond = api.client.get(path, headers={"Range": "bytes=10000-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range-not-satisfiable")
    many = ",".join(f"{number}-{number}" for number in range(1000))
    assert api.client.get(path, headers={"Range": f"bytes={many}"}).status_code == 200


def test_the_same_file_is_not_sent_twice(api: Api, job_id: str) -> None:
    headers = {"If-None-Match": f'"sha256-{DIGEST}"'}
    response = api.client.get(f"/v1/jobs/{job_id}/model", headers=headers)
    assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize("name", ["model", "report", "page", "solution", "space"])
def test_files_are_there_when_the_job_has_succeeded(api: Api, name: str) -> None:
    waiting, failed = api.submit(), api.submit()
    api.fail(failed, "verification-failed", "differs by 0.3")
    for job_id in (waiting, failed):
        response = api.client.get(f"/v1/jobs/{job_id}/{name}")
        assert (response.status_code, response.json()["code"]) == (409, "job-not-finished")


def test_a_damaged_file_is_never_sent(api: Api, job_id: str) -> None:
    key = api.store.artifact("own_a", job_id, "model").key
    path = api.artifacts.local_path(key)
    assert path is not None
    path.write_bytes(COMPRESSED[:-1] + b"x")
    response = api.client.get(f"/v1/jobs/{job_id}/model")
    assert (response.status_code, response.json()["code"]) == (500, "artifact-corrupt")
    assert b"compressed" not in response.content


def test_a_file_that_is_gone_is_gone(api: Api, job_id: str) -> None:
    api.artifacts.delete(api.store.artifact("own_a", job_id, "model").key)
    response = api.client.get(f"/v1/jobs/{job_id}/model")
    assert (response.status_code, response.json()["code"]) == (410, "gone")


def test_a_store_that_is_not_on_a_disk_streams(
    api: Api, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.artifacts, "local_path", lambda key: None)
    response = api.client.get(f"/v1/jobs/{job_id}/model")
    assert response.content == COMPRESSED
    assert response.headers["content-length"] == str(len(COMPRESSED))
    assert response.headers["etag"] == f'"sha256-{DIGEST}"'
