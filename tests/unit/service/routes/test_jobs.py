"""Creating, listing, looking at, waiting for, cancelling and deleting jobs."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.jobs import JobStatus
from tests.unit.service.api import DATASET, MODEL, Api

_NO_TARGET = {"macs": None, "params": None, "bytes": None, "latency": None}


def test_one_call_makes_a_job(api: Api) -> None:
    response = api.post(epochs="3", kinds="channel", metadata='{"team": "vision"}')
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert response.headers["retry-after"]
    assert job["status"] == "queued"
    assert job["model"]["name"] == "net.onnx"
    assert job["model"]["bytes"] == len(MODEL)
    assert job["dataset"] == {"uri": DATASET}
    assert job["target"]["macs"] == 0.5
    assert job["recipe"]["epochs"] == 3
    assert job["metadata"] == {"team": "vision"}
    assert (job["attempt"], job["error"], job["result"]) == (0, None, None)
    assert api.engine.submitted == [job["id"]]
    assert (api.leftovers(), api.objects()) == ([], 1)


@pytest.mark.parametrize("name", [*_NO_TARGET])
def test_the_answer_says_which_target_was_asked_for(api: Api, name: str) -> None:
    job = api.post(**{"target_macs": "", f"target_{name}": "0.25"}).json()
    assert job["target"] == {**_NO_TARGET, name: 0.25}


def test_the_request_may_be_json_in_one_field(api: Api) -> None:
    request = {
        "dataset": DATASET,
        "target": {"params": 0.6},
        "recipe": {"epochs": 3, "lr": None, "kinds": ["channel"]},
        "metadata": {"a": "b"},
    }
    response = api.post(job=json.dumps(request), dataset="", target_macs="")
    assert response.status_code == 202, response.text
    assert response.json()["target"] == {**_NO_TARGET, "params": 0.6}
    assert response.json()["recipe"] == {"epochs": 3, "lr": None, "kinds": ["channel"]}
    assert response.json()["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    "fields, code, param",
    [
        ({"dataset": ""}, "invalid-request", "dataset"),
        ({"target_macs": ""}, "invalid-request", "target_macs"),
        ({"target_macs": "1.5"}, "invalid-request", "target_macs"),
        ({"target_macs": "NaN"}, "invalid-request", "target_macs"),
        ({"target_macs": "half"}, "invalid-request", "target_macs"),
        ({"epochs": "0"}, "invalid-request", "epochs"),
        ({"epoch": "3"}, "invalid-request", "epoch"),
        ({"dataset": "ftp://host/x.npz"}, "dataset-scheme", "dataset"),
        ({"metadata": "[]"}, "invalid-request", "metadata"),
        ({"metadata": '{"a": 1}'}, "invalid-request", "metadata/a"),
        ({"job": '{"target": {"macs": 0.5}}'}, "invalid-request", "target_macs"),
    ],
)
def test_values_that_are_not_valid_are_named(
    api: Api, fields: dict[str, str], code: str, param: str
) -> None:
    response = api.post(**fields)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["param"]) == (422, code, param)
    assert (api.leftovers(), api.objects(), api.engine.submitted) == ([], 0, [])


@pytest.mark.parametrize(
    "job, param",
    [
        ('{"target": {"macs": 2}}', "job/target/macs"),
        ('{"target": {"macs": "1"}}', "job/target/macs"),
        ('{"target": {"macs": true}}', "job/target/macs"),
        ('{"target": {"macs": 1e999}}', "job/target/macs"),
        ('{"target": {}}', "target_macs"),
        ('{"target": {"macs": 0.5, "params": 0.5}}', "target_macs"),
        ('{"target": {"macs": 0.5}, "recipe": {"epochs": "5"}}', "epochs"),
        ('{"target": {"macs": 0.5}, "recipe": {"epochs": true}}', "epochs"),
        ('{"target": {"macs": 0.5}, "recipe": {"lr": "0.1"}}', "lr"),
        ('{"target": {"macs": 0.5}, "recipe": {"target_macs": 0.4}}', "target_macs"),
        ('{"target": {"macs": 0.5}, "recipes": {}}', "job/recipes"),
        ('{"target": {"macs": 0.5}, "recipe": {"epoch": 3}}', "epoch"),
        ('{"target": {"macs": 0.5}, "dataset": "https://h/x"}', "dataset"),
        ('{"target": {"macs": 0.5}, "metadata": {"a": 1}}', "job/metadata/a"),
    ],
)
def test_the_json_form_is_as_strict(api: Api, job: str, param: str) -> None:
    problem = api.post(target_macs="", job=job).json()
    assert (problem["status"], problem["code"], problem["param"]) == (422, "invalid-request", param)


@pytest.mark.parametrize("job", ["{", "[" * 100_000, '{"target": ' + "9" * 200_000 + "}"])
def test_broken_json_in_the_form_is_a_400_or_422(api: Api, job: str) -> None:
    response = api.post(target_macs="", job=job)
    assert response.status_code in (400, 422)
    assert response.json()["code"] in ("invalid-json", "invalid-request")


def test_a_typo_is_answered_with_the_right_name(api: Api) -> None:
    assert "did you mean 'epochs'?" in api.post(epoch="3").json()["detail"]


@pytest.mark.parametrize(
    "model, code, status",
    [
        (b"", "model-empty", 422),
        (b"PK\x03\x04", "model-not-onnx", 422),
        (b"unknown operator", "model-unsupported-op", 422),
        (b"x" * 200_001, "model-too-large", 413),
        (b"x" * 2_000_000, "model-too-large", 413),
        (None, "invalid-request", 422),
    ],
)
def test_models_that_are_refused_leave_nothing(
    api: Api, model: bytes | None, code: str, status: int
) -> None:
    response = api.post(model=model)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (api.leftovers(), api.objects(), api.engine.submitted) == ([], 0, [])
    if code == "model-too-large":
        assert response.json()["limit"] == 200_000


def test_cheap_checks_come_before_the_gate(api: Api) -> None:
    api.post(epochs="0")
    api.post(dataset="ftp://host/x")
    assert api.gate.admitted == []


def test_json_alone_is_an_unsupported_media_type(api: Api) -> None:
    response = api.client.post("/v1/jobs", json={"model": "mdl_1"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported-media-type")


def test_a_full_disk_is_a_507_and_leaves_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "no space left on /secret")

    monkeypatch.setattr("service.storage.os.link", full)
    response = api.post()
    assert (response.status_code, response.json()["code"]) == (507, "insufficient-storage")
    assert (api.leftovers(), api.objects()) == ([], 0)


def test_a_failing_database_leaves_no_file(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(api.engine, "submit", fail)
    assert api.post().status_code == 500
    assert (api.leftovers(), api.objects()) == ([], 0)
    monkeypatch.undo()
    api.submit()
    monkeypatch.setattr(api.engine, "submit", fail)
    assert api.post().status_code == 500
    assert api.objects() == 1  # still the first job's


def test_a_key_makes_repeating_safe(api: Api) -> None:
    headers = {"Idempotency-Key": "abc"}
    first = api.post(headers=headers)
    again = api.post(headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len(api.engine.submitted) == 1


@pytest.mark.parametrize(
    "change", [{"target_macs": "0.4"}, {"model": MODEL + b"x"}, {"epochs": "3"}]
)
def test_a_key_with_another_request_is_refused(api: Api, change: dict[str, str | bytes]) -> None:
    api.submit(headers={"Idempotency-Key": "abc"})
    response = api.post(headers={"Idempotency-Key": "abc"}, **change)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency-key-reused")
    assert (api.leftovers(), api.objects()) == ([], 1)


def test_a_key_belongs_to_its_owner(api: Api) -> None:
    headers = {"Idempotency-Key": "abc"}
    other = api.tenant("own_b")
    assert api.submit(headers=headers) != api.submit(client=other, headers=headers)


@pytest.mark.parametrize("key", ["", "a" * 256, "a\tb"])
def test_keys_have_a_form(api: Api, key: str) -> None:
    response = api.post(headers={"Idempotency-Key": key})
    assert (response.status_code, response.json()["code"]) == (400, "idempotency-key-invalid")


def test_one_key_in_twenty_requests_at_once_is_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": "race"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.post(headers=headers), range(20)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(202) == 1
    assert set(statuses) <= {200, 202, 409}
    assert len(api.engine.submitted) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency-key-in-progress"
            assert answer.headers["retry-after"]


def test_lists_are_paged_newest_first(api: Api) -> None:
    ids = [api.submit() for _ in range(5)][::-1]
    seen: list[str] = []
    after = None
    while True:
        query = "?limit=2" + (f"&after={after}" if after else "")
        page = api.client.get(f"/v1/jobs{query}").json()
        seen += [job["id"] for job in page["data"]]
        assert (page["first_id"], page["last_id"]) == (
            page["data"][0]["id"],
            page["data"][-1]["id"],
        )
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert seen == ids


def test_lists_are_filtered_by_status(api: Api) -> None:
    first, second = api.submit(), api.submit()
    api.succeed(first)
    assert [job["id"] for job in api.client.get("/v1/jobs?status=queued").json()["data"]] == [
        second
    ]
    empty = api.client.get("/v1/jobs?status=failed").json()
    assert empty == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000000", "limit=x", "status=fine", "after=job_nobody", "limt=3"]
)
def test_queries_that_are_not_valid_are_refused(api: Api, query: str) -> None:
    response = api.client.get(f"/v1/jobs?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid-request")
    assert response.json()["param"].strip("/") == query.split("=")[0]


def test_a_job_has_an_etag(api: Api) -> None:
    job_id = api.submit()
    path = f"/v1/jobs/{job_id}"
    first = api.client.get(path)
    etag = first.headers["etag"]
    assert first.headers["retry-after"]
    same = api.client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (same.status_code, same.content) == (304, b"")
    api.succeed(job_id)
    changed = api.client.get(path, headers={"If-None-Match": etag})
    assert (changed.status_code, changed.json()["status"]) == (200, "succeeded")
    assert "retry-after" not in changed.headers
    assert changed.json()["result"] == {
        "ratios": {"macs": 0.4},
        "removed": {"channel": 3, "head": 0},
    }


def test_progress_and_error_are_part_of_the_job(api: Api) -> None:
    job_id = api.submit()
    fence = api.begin(job_id)
    api.runs.set_stage(job_id, fence, JobStatus.RUNNING)
    line = {
        "fraction": 0.25, "stage": "train", "phase": "search", "step": 5, "total": 20,
        "metrics": {"loss": 1.5},
    }  # fmt: skip
    api.runs.record(job_id, fence, [("progress", line)])
    job = api.client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["attempt"]) == ("running", 1)
    assert job["progress"] == {**line, "eta_seconds": None}
    failed = api.submit()
    api.fail(failed, "dataset-labels", "row 3: label 12 of 10 classes")
    error = api.client.get(f"/v1/jobs/{failed}").json()["error"]
    assert error["code"] == "dataset-labels"
    assert error["type"] == "/problems/dataset-labels"
    assert error["detail"] == "row 3: label 12 of 10 classes"


def test_waiting_ends_when_the_status_changes(api: Api) -> None:
    job_id = api.submit()
    timer = threading.Timer(0.3, api.begin, [job_id])
    change = threading.Timer(0.4, lambda: api.runs.set_stage(job_id, 1, JobStatus.PREPARING))
    timer.start()
    change.start()
    started = time.monotonic()
    job = api.client.get(f"/v1/jobs/{job_id}?wait=25").json()
    assert job["status"] == "preparing"
    assert time.monotonic() - started < 20
    timer.join()
    change.join()


def test_waiting_ends_with_the_time_or_at_once_for_a_finished_job(api: Api) -> None:
    job_id = api.submit()
    assert api.client.get(f"/v1/jobs/{job_id}?wait=0.2").json()["status"] == "queued"
    api.succeed(job_id)
    assert api.client.get(f"/v1/jobs/{job_id}?wait=60").json()["status"] == "succeeded"
    assert api.client.get(f"/v1/jobs/{job_id}?wait=3600").status_code == 422


def test_cancelling(api: Api) -> None:
    job_id = api.submit()
    path = f"/v1/jobs/{job_id}/cancel"
    queued = api.client.post(path)
    assert (queued.status_code, queued.json()["status"]) == (200, "cancelled")
    assert api.client.post(path).status_code == 200
    running = api.submit()
    api.runs.set_stage(running, api.begin(running), JobStatus.PREPARING)
    answer = api.client.post(f"/v1/jobs/{running}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    assert api.engine.cancelled[-1] == running


def test_a_finished_job_cannot_be_cancelled(api: Api) -> None:
    job_id = api.submit()
    api.succeed(job_id)
    response = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "job-already-finished")


def test_deleting_removes_the_files_that_no_other_job_needs(api: Api) -> None:
    first, second = api.submit(), api.submit()
    assert api.objects() == 1
    response = api.client.delete(f"/v1/jobs/{first}")
    assert (response.status_code, response.json()["code"]) == (409, "resource-in-use")
    api.succeed(first)
    assert api.objects() == 6
    deleted = api.client.delete(f"/v1/jobs/{first}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert api.objects() == 1  # the second job's model
    assert api.client.get(f"/v1/jobs/{first}").status_code == 404
    assert api.client.delete(f"/v1/jobs/{first}").status_code == 404
    api.client.post(f"/v1/jobs/{second}/cancel")
    api.client.delete(f"/v1/jobs/{second}")
    assert api.objects() == 0


@pytest.mark.parametrize("job_id", ["job_nobody", "x", "..%2f..", "%00", "a" * 500, "job_ä"])
def test_unknown_and_malformed_ids_are_not_found(api: Api, job_id: str) -> None:
    response = api.client.get(f"/v1/jobs/{job_id}")
    assert (response.status_code, response.json()["code"]) == (404, "not-found")
