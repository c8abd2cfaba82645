"""From lines to the job's row and events."""

import asyncio

import pytest

from service import stage_recorder
from service.errors import UnavailableError
from service.job_store import JobStore
from service.run_store import FencedError, RunStore
from service.stage_recorder import StageRecorder
from service.testing import example_spec

A = "own_a"


@pytest.fixture
def job_id(store: JobStore, runs: RunStore) -> str:
    job_id = store.create(A, example_spec()).job.id
    runs.begin(job_id, "worker-a")
    return job_id


def progress(fraction: object, stage: str = "train") -> dict[str, object]:
    return {"kind": "progress", "seq": 1, "stage": stage, "fraction": fraction}


def test_of_the_progress_only_the_newest_is_written(
    runs: RunStore, store: JobStore, job_id: str
) -> None:
    recorder = StageRecorder(runs, job_id, 1, clock=lambda: 0.0)
    for line in (progress(0.1), {"kind": "event", "seq": 2, "data": {}}, progress(0.1)):
        recorder.add(line)
    asyncio.run(recorder.flush())
    asyncio.run(recorder.flush())
    events = store.events(A, job_id)[2:]
    assert [event.kind for event in events] == ["event", "progress"]
    assert "seq" not in events[0].data
    assert store.get(A, job_id).progress == {"stage": "train", "fraction": 0.1}


def test_the_rest_of_the_stage_is_estimated(runs: RunStore, store: JobStore, job_id: str) -> None:
    time = 100.0
    recorder = StageRecorder(runs, job_id, 1, clock=lambda: time)
    seen = []
    for moment, line in [
        (100.0, progress(0.2)),
        (110.0, progress(0.4)),
        (111.0, progress(0.0, stage="export")),
        (112.0, progress(0.5, stage="export")),
        (113.0, progress(None)),
    ]:
        time = moment
        recorder.add(line)
        asyncio.run(recorder.flush())
        seen.append((store.get(A, job_id).progress or {}).get("eta_seconds"))
    assert seen == [None, 30.0, None, 1.0, None]


def test_an_outage_loses_nothing(
    runs: RunStore, store: JobStore, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_recorder, "_FLUSH_SECONDS", 0.0)
    outages = iter([True, True, False])
    record = runs.record

    def flaky(*arguments: object) -> None:
        if next(outages):
            recorder.add({"kind": "event", "seq": 3, "n": 2})
            message = "locked"
            raise UnavailableError(message)
        record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "record", flaky)
    recorder = StageRecorder(runs, job_id, 1)
    recorder.add({"kind": "event", "seq": 1, "n": 1})
    asyncio.run(recorder.flush())
    assert [event.data for event in store.events(A, job_id)[2:]] == [{"n": 1}, {"n": 2}, {"n": 2}]


def test_a_fenced_recorder_says_so(runs: RunStore, job_id: str) -> None:
    recorder = StageRecorder(runs, job_id, 1)
    runs.begin(job_id, "worker-b")
    recorder.add({"kind": "event", "seq": 1})
    with pytest.raises(FencedError):
        asyncio.run(recorder.run())
