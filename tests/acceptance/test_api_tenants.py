"""Nobody can see, change, or learn of the existence of what belongs to somebody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.service.api import Api, running_api

ROUTES = [
    ("GET", "/v1/jobs/{job_id}"),
    ("DELETE", "/v1/jobs/{job_id}"),
    ("POST", "/v1/jobs/{job_id}/cancel"),
    ("GET", "/v1/jobs/{job_id}/events"),
    ("GET", "/v1/jobs/{job_id}/exports/{form}"),
    ("GET", "/v1/jobs/{job_id}/model"),
    ("GET", "/v1/jobs/{job_id}/page"),
    ("GET", "/v1/jobs/{job_id}/report"),
    ("GET", "/v1/jobs/{job_id}/solution"),
    ("GET", "/v1/jobs/{job_id}/space"),
]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        yield api


def test_the_list_of_routes_is_complete(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    found = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if "{job_id}" in path
    }
    assert found == set(ROUTES)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("method, path", ROUTES)
def test_a_foreign_id_is_answered_exactly_like_an_unknown_one(
    api: Api, method: str, path: str, accept: str
) -> None:
    queued, succeeded = api.submit(), api.submit()
    api.succeed(succeeded, formats=["int8"])
    other = api.tenant("own_b")
    answers = [
        other.request(method, path.format(job_id=job_id, form="int8"), headers={"Accept": accept})
        for job_id in (queued, succeeded, "job_" + "0" * 26)
    ]
    bodies = []
    for answer in answers:
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body.pop("request_id")
        bodies.append(body)
    assert bodies[0] == bodies[1] == bodies[2]
    headers = [
        {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        for answer in answers
    ]
    assert headers[0] == headers[1] == headers[2]
    assert api.client.get(f"/v1/jobs/{queued}").json()["status"] == "queued"


def test_lists_and_cursors_show_the_owner_s_jobs_only(api: Api) -> None:
    mine = api.submit()
    other = api.tenant("own_b")
    theirs = api.submit(client=other)
    page = other.get("/v1/jobs").json()
    assert [job["id"] for job in page["data"]] == [theirs]
    foreign = other.get(f"/v1/jobs?after={mine}")
    unknown = other.get("/v1/jobs?after=job_nobody")
    assert foreign.status_code == unknown.status_code == 422
    assert foreign.json()["detail"] == unknown.json()["detail"]


def test_the_same_content_is_stored_per_owner(api: Api) -> None:
    mine = api.submit()
    other = api.tenant("own_b")
    api.submit(client=other)
    assert api.objects() == 2
    api.client.post(f"/v1/jobs/{mine}/cancel")
    api.client.delete(f"/v1/jobs/{mine}")
    assert api.objects() == 1


@pytest.mark.parametrize("method, path", [*ROUTES, ("GET", "/v1/jobs"), ("POST", "/v1/jobs")])
def test_without_a_valid_key_everything_is_answered_alike(api: Api, method: str, path: str) -> None:
    path = path.format(job_id=api.submit(), form="int8")
    key = api.key
    wrong = [
        None,
        "Bearer",
        "Bearer ",
        f"Basic {key}",
        f"Bearer {key}x",
        f"Bearer {key[:-1]}",
        f"Bearer {key[:13]}{'A' * 43}",
        "Bearer sct_00000000_" + "A" * 43,
        "Bearer " + "x" * 5000,
    ]
    details = set()
    for value in wrong:
        headers = {} if value is None else {"Authorization": value}
        answer = api.anonymous.request(method, path, headers=headers)
        assert answer.status_code == 401, value
        assert answer.headers["www-authenticate"] == "Bearer"
        details.add(answer.json()["detail"])
    assert len(details) == 1


def test_keys_have_scopes(api: Api) -> None:
    job_id = api.submit()
    reader, writer = api.tenant("own_a", "read"), api.tenant("own_a", "write")
    assert reader.get(f"/v1/jobs/{job_id}").status_code == 200
    for answer in (
        api.post(client=reader),
        reader.post(f"/v1/jobs/{job_id}/cancel"),
        reader.delete(f"/v1/jobs/{job_id}"),
        writer.get(f"/v1/jobs/{job_id}"),
        writer.get("/v1/jobs"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert writer.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    assert api.tenant("own_a", "admin").get(f"/v1/jobs/{job_id}").status_code == 200


def test_a_foreign_host_name_is_refused(api: Api) -> None:
    answer = api.client.get("/v1/jobs", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")
