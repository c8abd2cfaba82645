"""One start of a job: folder, request, child process."""

import asyncio
import json
import os
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.job_run import JobRun, open_run, run_stage_process
from service.run_store import Begun, FencedError
from service.stage_child import ChildEnd, Ending
from service.storage import ArtifactCorruptError
from service.work_folders import WorkFolders
from tests.unit.service.worker_parts import OWNER, Parts, worker_parts


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    with worker_parts(tmp_path) as parts:
        yield parts


def begin(parts: Parts, job_id: str) -> Begun:
    begun = parts.runs.begin(job_id, "worker-a")
    assert begun is not None
    return begun


def opened(parts: Parts, begun: Begun) -> JobRun:
    return open_run(
        begun,
        settings=parts.settings,
        folders=WorkFolders(parts.settings.jobs_dir),
        artifacts=parts.artifacts,
        deadline=float("inf"),
    )


def test_the_folder_holds_the_model_and_the_request(parts: Parts) -> None:
    run = opened(parts, begin(parts, parts.submit(steps=2)))
    assert json.loads((run.path / "model.onnx").read_text()) == {"steps": 2}
    request = json.loads((run.path / "request.json").read_text())
    assert request["recipe"] == {"epochs": 2, "target_macs": 0.5}
    assert request["dataset"]["roots"] == [str(parts.folder / "sets")]
    assert request["dataset"]["sha256"] is None
    assert run.log_tail() == ""
    (run.path / "stage.log").write_text("a\n" * 9000 + "the error\x1b[0m")
    assert run.log_tail().endswith("a\\nthe error\\x1b[0m")
    assert len(run.log_tail()) < 2000


def test_a_later_start_pins_the_data_of_the_first(parts: Parts) -> None:
    job_id = parts.submit()
    run = opened(parts, begin(parts, job_id))
    parts.runs.finish_stage(job_id, run.fence, {"prepare": {"dataset.npz": "ab"}})
    again = opened(parts, begin(parts, job_id))
    assert again.request(parts.settings)["dataset"]["sha256"] == "ab"
    assert again.stages == {}


def test_a_model_that_was_damaged_in_the_store_is_not_used(parts: Parts) -> None:
    begun = begin(parts, parts.submit())
    path = parts.artifacts.local_path(begun.job.spec.model.key)
    assert path is not None
    path.chmod(0o600)
    path.write_text("damaged")
    with pytest.raises(ArtifactCorruptError):
        opened(parts, begun)


def stage(parts: Parts, run: JobRun, stop: asyncio.Event) -> Coroutine[Any, Any, ChildEnd]:
    return run_stage_process(
        run,
        "train",
        settings=parts.settings,
        environment=os.environ,
        runs=parts.runs,
        parent=os.getpid(),
        stop=stop,
    )


def test_a_stage_is_run_and_recorded(parts: Parts) -> None:
    job_id = parts.submit(steps=3)
    run = opened(parts, begin(parts, job_id))

    async def scenario() -> None:
        end = await stage(parts, run, asyncio.Event())
        assert (end.ending, end.exit_code) == (Ending.EXITED, 0)

    asyncio.run(scenario())
    kinds = [event.kind for event in parts.store.events(OWNER, job_id)]
    assert kinds.count("checkpoint") == 3
    progress = parts.store.get(OWNER, job_id).progress
    assert progress is not None
    assert progress["step"] == 3


def test_a_fenced_worker_ends_its_child(parts: Parts) -> None:
    job_id = parts.submit(steps=10_000, delay=0.01)
    run = opened(parts, begin(parts, job_id))
    begin(parts, job_id)  # somebody else has taken over

    async def scenario() -> None:
        with pytest.raises(FencedError):
            await stage(parts, run, asyncio.Event())

    asyncio.run(scenario())


def test_no_time_left(parts: Parts) -> None:
    run = opened(parts, begin(parts, parts.submit(steps=10_000, delay=0.01)))

    async def scenario() -> None:
        end = await stage(parts, replace(run, deadline=0.0), asyncio.Event())
        assert end.ending is Ending.DEADLINE

    asyncio.run(scenario())
