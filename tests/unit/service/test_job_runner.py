"""What a worker does with a job, on the in-memory engine with real child processes or none."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from service import job_runner
from service.engine.port import EngineStatus
from service.faults import arm
from service.job_runner import JobRunner
from service.jobs import Job, JobStatus
from service.stage_child import ChildEnd, Ending
from service.storage import StorageError
from tests.unit.service.worker_parts import OWNER, Parts, worker_parts

PATIENCE = 120.0
DONE = {"kind": "result", "files": {}}


class Left(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    with worker_parts(tmp_path, stall_timeout=30.0) as parts:
        yield parts


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("")


def make_runner(parts: Parts, name: str = "worker-a") -> JobRunner:
    def leave(code: int) -> NoReturn:
        raise Left(code)

    return JobRunner(
        name,
        settings=parts.settings,
        environment=os.environ,
        runs=parts.runs,
        artifacts=parts.artifacts,
        pid=os.getpid(),
        leave=leave,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


def work(parts: Parts, leave_when: Callable[[JobRunner], Awaitable[None]]) -> None:
    """Run a worker until the scenario returns."""

    async def scenario() -> None:
        runner = make_runner(parts)
        await parts.engine.run_worker("worker-a", runner, lambda: leave_when(runner))

    asyncio.run(scenario())


def to_the_end(parts: Parts, job_id: str) -> Job:
    def over() -> bool:
        return parts.engine.status(job_id) in (EngineStatus.ENDED, EngineStatus.STOPPED)

    work(parts, lambda _runner: until(over))
    assert not (parts.settings.jobs_dir / job_id).exists(), "nothing is left behind"
    return parts.store.get(OWNER, job_id)


@contextmanager
def scripted(monkeypatch: pytest.MonkeyPatch, *ends: ChildEnd | Exception) -> Iterator[list[str]]:
    """Replace child processes by these ends, then by successes; the stages that were run."""
    waiting, stages = list(ends), []

    async def fake(run: object, stage: str, **_: object) -> ChildEnd:
        stages.append(stage)
        end = waiting.pop(0) if waiting else ended(0, DONE)
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(job_runner, "run_stage_process", fake)
    monkeypatch.setattr(job_runner, "publish", lambda *_: ())
    monkeypatch.setattr(job_runner, "figures", lambda *_: {"ratios": {}})
    yield stages


def ended(code: int, line: dict[str, object] | None = None) -> ChildEnd:
    return ChildEnd(ending=Ending.EXITED, exit_code=code, last_line=line)


def stalled() -> ChildEnd:
    return ChildEnd(ending=Ending.STALLED, exit_code=-9)


def test_a_job_from_the_queue_to_its_files(parts: Parts) -> None:
    job_id = parts.submit(steps=3, trace=str(parts.trace))
    job = to_the_end(parts, job_id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert (job.attempt, job.fence) == (1, 1)
    assert job.result == {"ratios": {"macs": 0.5}, "removed": {"channel": 1}}
    assert parts.steps() == [0, 1, 2]
    model = parts.store.artifact(OWNER, job_id, "model")
    parts.artifacts.verify(model.key, model.sha256)
    events = parts.store.events(OWNER, job_id, limit=1000)
    statuses = [event.data["status"] for event in events if event.kind == "status"]
    assert statuses == ["queued", "preparing", "running", "exporting", "verifying", "succeeded"]


def test_bad_input_fails_at_once_with_its_code(parts: Parts) -> None:
    job = to_the_end(parts, parts.submit(trouble={"stage": "train", "kind": "input"}))
    assert job.status is JobStatus.FAILED
    assert job.error == {
        "code": "dataset-labels",
        "detail": "the labels do not fit",
        "param": "y_train",
    }
    assert job.attempt == 1


def test_after_a_crash_the_next_attempt_resumes(parts: Parts) -> None:
    trouble = {"stage": "train", "step": 4, "kind": "kill", "once": str(parts.folder / "once")}
    job_id = parts.submit(steps=8, trace=str(parts.trace), trouble=trouble)
    job = to_the_end(parts, job_id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert (job.attempt, job.fence, job.resumed_from_step) == (2, 2, 4)
    assert parts.steps() == list(range(8))


def test_a_running_job_is_cancelled(parts: Parts) -> None:
    job_id = parts.submit(steps=10_000, delay=0.01, trace=str(parts.trace))

    async def cancel(_runner: JobRunner) -> None:
        await until(lambda: len(parts.steps()) > 3)
        job, changed = await asyncio.to_thread(parts.store.request_cancel, OWNER, job_id)
        assert (job.status, changed) == (JobStatus.CANCELLING, True)
        await until(lambda: parts.store.get(OWNER, job_id).is_terminal)
        await until(lambda: not (parts.settings.jobs_dir / job_id).exists())

    work(parts, cancel)
    assert parts.store.get(OWNER, job_id).status is JobStatus.CANCELLED


def test_a_drain_hands_the_job_back_free_of_charge(parts: Parts) -> None:
    job_id = parts.submit(steps=40, delay=0.02, trace=str(parts.trace))

    async def drain(runner: JobRunner) -> None:
        await until(lambda: len(parts.steps()) > 3)
        runner.drain()
        await runner.asked_to_leave()
        await runner.drained()

    work(parts, drain)
    job = parts.store.get(OWNER, job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
    assert parts.engine.status(job_id) is EngineStatus.RUNNING, "it stays taken"
    job = to_the_end(parts, job_id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert (job.attempt, job.fence) == (1, 2)
    assert parts.steps() == list(range(40))


def test_a_draining_worker_begins_nothing(parts: Parts) -> None:
    job_id = parts.submit()

    async def scenario() -> None:
        runner = make_runner(parts)
        runner.drain()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(runner.begin(job_id), 0.05)
        await runner.drained()
        assert runner.current is None

    asyncio.run(scenario())
    assert parts.store.get(OWNER, job_id).attempt == 0


def test_a_stage_that_finished_while_it_was_asked_to_stop_is_not_run_again(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = parts.submit()
    finished = ChildEnd(ending=Ending.STOPPED, exit_code=0, last_line=DONE)

    async def drained(runner: JobRunner) -> None:
        await until(lambda: parts.store.get(OWNER, job_id).fence == 1)
        await runner.drained()

    with scripted(monkeypatch, finished) as stages:
        work(parts, drained)
        assert stages == ["prepare"]
        assert to_the_end(parts, job_id).status is JobStatus.SUCCEEDED
        assert stages == ["prepare", "train", "export", "verify"]


@pytest.mark.parametrize(
    ("ends", "code", "attempts"),
    [
        ([ended(1)] * 2, "internal", 2),
        ([ended(-11)] * 2, "internal", 2),
        ([stalled()] * 3, "worker-stalled", 3),
        ([stalled(), ended(1), ended(1)], "internal", 3),
        ([ChildEnd(ending=Ending.OUT_OF_MEMORY, exit_code=-9)] * 2, "out-of-memory", 2),
        ([ChildEnd(ending=Ending.DEADLINE, exit_code=75)], "deadline-exceeded", 1),
        ([RuntimeError("a bug of ours")], "internal", 1),
    ],
)
def test_failures_and_their_attempts(
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    ends: list[ChildEnd],
    code: str,
    attempts: int,
) -> None:
    job_id = parts.submit()
    with scripted(monkeypatch, *ends) as stages:
        job = to_the_end(parts, job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error["code"] == code
    assert job.attempt == attempts
    assert stages == ["prepare"] * len(ends)


def test_a_retry_runs_what_is_missing_first(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = ended(0, {"kind": "result", "files": {"never-written": "0" * 64}})
    with scripted(monkeypatch, lost, ended(-9)) as stages:
        assert to_the_end(parts, parts.submit()).status is JobStatus.SUCCEEDED
    assert stages == ["prepare", "train", "prepare", "train", "export", "verify"]


def test_too_many_lost_workers(parts: Parts) -> None:
    job_id = parts.submit()
    for _ in range(3):
        parts.runs.begin(job_id, "worker-lost")
    job = to_the_end(parts, job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error["code"], job.attempt) == ("worker-lost", 3)


def test_a_cancel_that_came_while_nobody_worked(parts: Parts) -> None:
    job_id = parts.submit()
    parts.runs.begin(job_id, "worker-lost")
    parts.store.request_cancel(OWNER, job_id)
    parts.engine.resume([job_id])
    assert to_the_end(parts, job_id).status is JobStatus.CANCELLED


def test_a_job_that_ended_before_is_left_alone(parts: Parts) -> None:
    job_id = parts.submit()
    parts.store.request_cancel(OWNER, job_id)
    before = parts.store.get(OWNER, job_id)
    parts.engine.resume([job_id])
    assert to_the_end(parts, job_id) == before


def test_a_fenced_worker_leaves(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = parts.submit()

    async def scenario() -> None:
        runner = make_runner(parts)
        assert await runner.begin(job_id)
        assert runner.current == job_id
        parts.runs.begin(job_id, "worker-b")
        with pytest.raises(Left) as info:
            await runner.run_stage(job_id, "prepare")
        assert info.value.args == (76,)

    with scripted(monkeypatch):
        asyncio.run(scenario())


def test_a_model_that_is_gone(parts: Parts) -> None:
    job_id = parts.submit()
    parts.artifacts.delete(parts.store.get(OWNER, job_id).spec.model.key)
    job = to_the_end(parts, job_id)
    assert job.error is not None
    assert job.error["code"] == "gone"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "full"), "insufficient-storage"),
        (OSError(errno.EIO, "broken"), "internal"),
        (StorageError("away"), "storage-unavailable"),
    ],
)
def test_the_result_cannot_be_stored(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(job_runner, "_STORE_TRIES", 1)
    with scripted(monkeypatch):
        monkeypatch.setattr(job_runner, "publish", fail)
        job = to_the_end(parts, parts.submit())
    assert job.error is not None
    assert job.error["code"] == code


def test_a_stop_of_somebody_elses_job_changes_nothing(parts: Parts) -> None:
    job_id = parts.submit()
    asyncio.run(make_runner(parts).stopped(job_id))
    assert parts.store.get(OWNER, job_id).status is JobStatus.QUEUED
