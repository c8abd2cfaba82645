"""The Python client against the real API, and against a network that fails."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client import (
    Client,
    DownloadError,
    RequestRefusedError,
    ServiceError,
    ServiceUnreachableError,
)
from service.jobs import JobStatus
from service.run_store import Outcome
from tests.unit.service.api import COMPRESSED, DATASET, MODEL, Api, running_api
from tests.unit.service.live_server import serving_live

DIGEST = hashlib.sha256(COMPRESSED).hexdigest()
REFUSED = httpx.ConnectError("refused")
PROBLEM = {
    "type": "/problems/unavailable",
    "title": "busy",
    "status": 503,
    "detail": "try again",
    "code": "unavailable",
    "retryable": True,
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api"), serve=serving_live) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(api.anonymous.url, api.key) as client:
        yield client


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(MODEL)
    return path


def scripted(
    answer: Callable[[httpx.Request], httpx.Response], *, attempts: int = 4
) -> tuple[Client, list[float]]:
    """A client whose network is a function, and the pauses it made."""
    pauses: list[float] = []
    transport = httpx.MockTransport(answer)
    client = Client(
        "http://service", "sct_x", transport=transport, sleep=pauses.append, attempts=attempts
    )
    return client, pauses


def test_a_job_from_upload_to_download(
    api: Api, client: Client, model: Path, tmp_path: Path
) -> None:
    settings = {"target_macs": 0.5, "epochs": 3, "seed": None, "kinds": ("channel", "head")}
    job = client.jobs.create(model, dataset=DATASET, settings=settings, metadata={"team": "a"})
    assert (job.status, job.target.macs, job.metadata) == ("queued", 0.5, {"team": "a"})
    assert job.recipe["kinds"] == ["channel", "head"]
    assert not job.is_finished
    assert client.jobs.get(job.id) == job
    assert [found.id for found in client.jobs.list(status="queued", limit=1).data] == [job.id]
    timer = threading.Timer(0.2, api.succeed, [job.id])
    timer.start()
    kinds = [(event.seq, event.data["status"]) for event in client.jobs.stream_events(job.id)]
    timer.join()
    assert kinds == [(1, "queued"), (2, "preparing"), (3, "succeeded")]
    assert client.jobs.wait(job.id, timeout=10).status == "succeeded"
    assert client.jobs.download(job.id, tmp_path / "small.onnx") == DIGEST
    assert (tmp_path / "small.onnx").read_bytes() == COMPRESSED
    assert client.jobs.read(job.id, "report") == {"name": "report"}
    with pytest.raises(RequestRefusedError, match="already") as caught:
        client.jobs.cancel(job.id)
    assert (caught.value.code, caught.value.exit_code) == ("job-already-finished", 2)
    client.jobs.delete(job.id)
    with pytest.raises(RequestRefusedError) as caught:
        client.jobs.get(job.id)
    assert (caught.value.status, caught.value.problem.code) == (404, "not-found")


def test_refusals_name_the_parameter(client: Client, model: Path) -> None:
    with pytest.raises(RequestRefusedError, match="did you mean 'epochs'") as caught:
        client.jobs.create(model, dataset=DATASET, settings={"target_macs": 0.5, "epoch": 3})
    assert caught.value.param == "epoch"


def test_cancelling(client: Client, model: Path) -> None:
    job = client.jobs.create(model, dataset=DATASET, settings={"target_macs": 0.5})
    assert client.jobs.cancel(job.id).status == "cancelled"


def test_waiting_has_an_end(client: Client, model: Path) -> None:
    job = client.jobs.create(model, dataset=DATASET, settings={"target_macs": 0.5})
    with pytest.raises(TimeoutError, match="is queued"):
        client.jobs.wait(job.id, timeout=0.1)


def test_events_after_the_end_of_a_stream_are_fetched(
    api: Api, client: Client, model: Path
) -> None:
    job = client.jobs.create(model, dataset=DATASET, settings={"target_macs": 0.5})
    fence = api.begin(job.id)
    api.runs.record(job.id, fence, [("event", {"message": str(n)}) for n in range(250)])
    api.runs.finish(job.id, fence, Outcome(status=JobStatus.CANCELLED))
    assert [event.seq for event in client.jobs._rest(job.id, 0)] == list(range(1, 254))
    assert [event.seq for event in client.jobs.stream_events(job.id, after=250)] == [251, 252, 253]


def test_a_busy_service_is_asked_again_with_the_same_key(model: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            return httpx.Response(503, json=PROBLEM, headers={"Retry-After": "2"})
        raise REFUSED

    client, pauses = scripted(answer)
    with pytest.raises(ServiceUnreachableError, match=r"SECATEUR_URL"):
        client.jobs.create(model, dataset=DATASET, settings={})
    assert len(seen) == 4
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    assert pauses[0] == 2
    assert all(0 < pause <= 8 for pause in pauses)


def test_a_service_that_stays_busy_raises_its_problem() -> None:
    client, _ = scripted(lambda request: httpx.Response(503, json=PROBLEM))
    with pytest.raises(ServiceError, match="try again") as caught:
        client.jobs.get("job_1")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("status", [200, 301, 404, 500])
def test_something_else_than_the_service_is_noticed(status: int) -> None:
    client, _ = scripted(lambda request: httpx.Response(status, text="<html>"))
    with pytest.raises(ServiceUnreachableError, match="is it Secateur"):
        client.jobs.get("job_1")


def test_addresses_are_checked() -> None:
    for url in ("http://[", "no address"):
        with pytest.raises(ServiceUnreachableError), Client(url, attempts=1) as client:
            client.jobs.get("job_1")


class Breaking(httpx.SyncByteStream):
    """A body that breaks off after its content."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        message = "broken"
        raise httpx.ReadError(message)


def breaking_download(*, changes: bool) -> Callable[[httpx.Request], httpx.Response]:
    """Breaks off in the middle of the file, and then sends the rest, or another file."""
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("range"))
        headers = {"ETag": f'"sha256-{DIGEST}"'}
        if len(seen) == 1:
            return httpx.Response(200, headers=headers, stream=Breaking(COMPRESSED[:4000]))
        assert seen[1] == "bytes=4000-"
        assert request.headers["if-range"] == headers["ETag"]
        if changes:
            return httpx.Response(200, headers=headers, content=COMPRESSED)
        return httpx.Response(206, headers=headers, content=COMPRESSED[4000:])

    return answer


@pytest.mark.parametrize("changes", [False, True])
def test_a_broken_download_continues(tmp_path: Path, changes: bool) -> None:
    client, pauses = scripted(breaking_download(changes=changes))
    assert client.jobs.download("job_1", tmp_path / "x.onnx") == DIGEST
    assert (tmp_path / "x.onnx").read_bytes() == COMPRESSED
    assert len(pauses) == 1


def test_a_download_that_never_works_leaves_nothing(tmp_path: Path) -> None:
    client, _ = scripted(lambda request: httpx.Response(200, stream=Breaking(b"x")), attempts=2)
    with pytest.raises(ServiceUnreachableError):
        client.jobs.download("job_1", tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_refused_and_an_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"old")
    headers = {"ETag": f'"sha256-{DIGEST}"'}
    client, _ = scripted(lambda request: httpx.Response(200, headers=headers, content=b"wrong"))
    with pytest.raises(DownloadError, match="was published"):
        client.jobs.download("job_1", tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
    assert (tmp_path / "x.onnx").read_bytes() == b"old"


def event_line(seq: int) -> bytes:
    event = {"seq": seq, "kind": "event", "at": "2026-01-01T00:00:00Z", "data": {}}
    text = httpx.Response(200, json=event).text
    return f": ping\n\nevent: event\ndata: {text}\nid: {seq}\n\n".encode()


def job_json(status: str) -> dict[str, Any]:
    names = ("self", "events", "cancel", "model", "report", "page", "solution", "space")
    return {
        "id": "job_1",
        "status": status,
        "model": {"name": "m", "sha256": "0", "bytes": 1},
        "dataset": {"uri": "x"},
        "target": {},
        "recipe": {},
        "metadata": {},
        "attempt": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "links": dict.fromkeys(names, "/"),
        "a field of the future": 1,
    }


def test_a_broken_stream_continues_after_the_last_event() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=job_json("succeeded"))
        if "text/event-stream" not in request.headers["accept"]:
            return httpx.Response(200, json={"data": [], "has_more": False})
        asked.append(request.headers["last-event-id"])
        if len(asked) == 1:
            return httpx.Response(200, stream=Breaking(event_line(1) + event_line(2)))
        return httpx.Response(200, content=event_line(3))

    client, pauses = scripted(answer)
    assert [event.seq for event in client.jobs.stream_events("job_1")] == [1, 2, 3]
    assert asked == ["0", "2"]
    assert len(pauses) == 1


def test_a_stream_that_never_works_is_given_up() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise REFUSED

    client, pauses = scripted(answer, attempts=3)
    with pytest.raises(ServiceUnreachableError, match="ConnectError"):
        list(client.jobs.stream_events("job_1"))
    assert len(pauses) == 2
