"""One start of a job on this host: its folder, its request, its child processes."""

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.durable_files import move_durably
from service.logs import escaped
from service.run_store import Begun, RunStore
from service.settings import Settings
from service.stage_child import ChildEnd, Limits, run_child
from service.stage_process import DATASET_FILE, LOG_FILE, MODEL_FILE, REQUEST_FILE
from service.stage_recorder import StageRecorder
from service.storage import ArtifactStore
from service.work_folders import WorkFolders

_LOG_TAIL = 1900  # characters; they fit into one field of a log line


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """A start of a job.

    Attributes:
        begun: Job, fence, and what earlier starts have finished.
        path: The run folder.
        stages: Finished stages whose files are in the folder; grows with this start.
        deadline: When it has run for too long, on the event loop's clock.
    """

    begun: Begun
    path: Path
    stages: dict[str, dict[str, str]]
    deadline: float

    @property
    def job_id(self) -> str:
        """The job."""
        return self.begun.job.id

    @property
    def fence(self) -> int:
        """Number of this start."""
        return self.begun.job.fence

    def request(self, settings: Settings) -> dict[str, object]:
        """What the stage's process has to know, as JSON."""
        spec = self.begun.job.spec
        targets = {f"target_{name}": ratio for name, ratio in spec.target.items()}
        pinned = self.begun.stages.get("prepare", {}).get(DATASET_FILE)
        return {
            "recipe": {**spec.recipe, **targets},
            "dataset": {
                "uri": spec.dataset_uri,
                "roots": [str(root) for root in settings.dataset_roots],
                "sha256": pinned,
            },
        }

    def log_tail(self) -> str:
        """The end of what the stages have printed, on one line."""
        try:
            text = (self.path / LOG_FILE).read_bytes()[-_LOG_TAIL:]
        except OSError:
            return ""
        return escaped(text.decode(errors="replace"))[-_LOG_TAIL:]


def open_run(
    begun: Begun,
    *,
    settings: Settings,
    folders: WorkFolders,
    artifacts: ArtifactStore,
    deadline: float,
) -> JobRun:
    """Make the run folder of a start, with the model and the request in it.

    Raises:
        StorageError: The model cannot be read.
        OSError: The disk is full.
    """
    job = begun.job
    folder = folders.open(job.id, job.fence, begun.stages)
    run = JobRun(begun=begun, path=folder.path, stages=folder.stages, deadline=deadline)
    partial = folder.path / f"{MODEL_FILE}.part"
    artifacts.fetch(job.spec.model.key, partial, sha256=job.spec.model.sha256)
    move_durably(partial, folder.path / MODEL_FILE)
    (folder.path / REQUEST_FILE).write_text(json.dumps(run.request(settings)))
    return run


async def run_stage_process(
    run: JobRun,
    stage: str,
    *,
    settings: Settings,
    environment: Mapping[str, str],
    runs: RunStore,
    parent: int,
    stop: asyncio.Event,
) -> ChildEnd:
    """Run one stage in a child process, and record what it reports.

    Raises:
        FencedError: Another worker has taken the job over.
        asyncio.CancelledError: The job was stopped; the child is gone by then.
    """
    recorder = StageRecorder(runs, run.job_id, run.fence)
    child = asyncio.ensure_future(
        run_child(
            _command(run, stage, settings, parent),
            environment={**environment, **settings.to_environment(), "SECATEUR_JOB": run.job_id},
            log=run.path / LOG_FILE,
            on_line=recorder.add,
            stop=stop,
            limits=Limits(
                stall=settings.stall_timeout,
                runtime=max(run.deadline - asyncio.get_running_loop().time(), 0),
                grace=settings.stop_grace,
            ),
        )
    )
    recording = asyncio.ensure_future(recorder.run())
    try:
        await asyncio.wait({child, recording}, return_when=asyncio.FIRST_COMPLETED)
        if recording.done():
            recording.result()  # fenced
        end = await child
    finally:
        for task in (child, recording):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    await recorder.flush()
    return end


def _command(run: JobRun, stage: str, settings: Settings, parent: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "service.stage_process",
        *("--stage", stage, "--job", run.job_id, "--run", str(run.path)),
        *("--parent", str(parent), "--compression", settings.compression),
    ]
