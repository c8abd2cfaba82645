"""Events as a list and as a stream."""

import threading

import pytest

from service.jobs import JobStatus
from tests.unit.service.api import Api

STREAM = {"Accept": "text/event-stream"}


def sequence(text: str) -> list[int]:
    return [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]


def job_with_events(api: Api, count: int) -> str:
    job_id = api.submit()
    fence = api.begin(job_id)
    lines = [("event", {"message": f"line {number}"}) for number in range(count)]
    api.runs.record(job_id, fence, lines)
    return job_id


def test_the_list_is_paged_oldest_first(api: Api) -> None:
    job_id = job_with_events(api, 4)
    path = f"/v1/jobs/{job_id}/events"
    first = api.client.get(f"{path}?limit=3").json()
    assert [event["seq"] for event in first["data"]] == [1, 2, 3]
    assert (first["first_id"], first["last_id"], first["has_more"]) == ("1", "3", True)
    rest = api.client.get(f"{path}?limit=3&after=3").json()
    assert [event["seq"] for event in rest["data"]] == [4, 5, 6]
    assert first["data"][1]["data"]["status"] == "preparing"
    assert rest["has_more"] is False
    assert rest["data"][0]["data"] == {"message": "line 1"}
    assert api.client.get(f"{path}?after=99").json()["data"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=2000", "after=-1", "after=1e99", "x=1"])
def test_queries_are_checked(api: Api, query: str) -> None:
    job_id = api.submit()
    response = api.client.get(f"/v1/jobs/{job_id}/events?{query}")
    assert response.json()["code"] == "invalid-request"


def test_the_stream_ends_with_the_job(api: Api) -> None:
    job_id = job_with_events(api, 3)
    api.runs.finish(job_id, 1, _cancelled())
    response = api.client.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert sequence(response.text) == [1, 2, 3, 4, 5, 6]
    assert "event: status" in response.text
    assert '"status":"cancelled"' in response.text


def test_events_come_while_they_happen(api: Api) -> None:
    job_id = api.submit()

    def work() -> None:
        fence = api.begin(job_id)
        for number in range(3):
            api.runs.record(job_id, fence, [("event", {"message": str(number)})])
        api.runs.finish(job_id, fence, _cancelled())

    timer = threading.Timer(0.3, work)
    timer.start()
    response = api.client.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    timer.join()
    assert sequence(response.text) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("last", [0, 2, 5, 99])
def test_a_broken_stream_continues_after_the_last_event(api: Api, last: int) -> None:
    job_id = job_with_events(api, 3)
    api.runs.finish(job_id, 1, _cancelled())
    headers = {**STREAM, "Last-Event-ID": str(last)}
    response = api.client.get(f"/v1/jobs/{job_id}/events", headers=headers)
    assert sequence(response.text) == [seq for seq in range(1, 7) if seq > last]
    query = api.client.get(f"/v1/jobs/{job_id}/events?after={last}", headers=STREAM)
    assert query.text == response.text


def test_errors_come_before_the_stream(api: Api) -> None:
    job_id = api.submit()
    path = f"/v1/jobs/{job_id}/events"
    assert api.client.get("/v1/jobs/job_nobody/events", headers=STREAM).status_code == 404
    assert api.anonymous.get(path, headers=STREAM).status_code == 401
    bad = api.client.get(path, headers={**STREAM, "Last-Event-ID": "x"})
    assert bad.json()["param"] == "/last-event-id"


def test_a_revoked_key_stops_listening(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = api.submit()
    monkeypatch.setattr("service.routes.events._RECHECK_SECONDS", -1.0)
    answers = iter([api.store.authenticate(api.key)])
    monkeypatch.setattr(api.store, "authenticate", lambda token: next(answers, None))
    response = api.client.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    assert sequence(response.text) == [1]


def _cancelled() -> object:
    from service.run_store import Outcome

    return Outcome(status=JobStatus.CANCELLED)
