"""What a worker does with the job it was given: begin, run the stages, end; or stop, or hand back.

Every write to the database carries the fence of this start; a worker that finds itself fenced has
been declared dead and leaves at once. Nothing is raised into the job engine: what a step raises
would be final, so outcomes are recorded in the job's row and the step returns.
"""

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, NoReturn

from graph_analysis.errors import SecateurError
from service.faults import fault
from service.job_run import JobRun, open_run, run_stage_process
from service.jobs import JobStatus, Wanted
from service.patience import patiently, with_tries
from service.publishing import figures, publish
from service.run_store import Begun, FencedError, Outcome, RunStore, Verdict
from service.settings import Settings
from service.stage_child import ChildEnd, Ending
from service.stage_policy import Done, Fail, Retry, error_of, judge
from service.storage import ArtifactStore
from service.work_folders import WorkFolders, new_files

EXIT_FENCED = 76
CHILD_STAGES = ("prepare", "train", "export", "verify")
STATUS_OF = {
    "prepare": JobStatus.PREPARING,
    "train": JobStatus.RUNNING,
    "export": JobStatus.EXPORTING,
    "verify": JobStatus.VERIFYING,
    "publish": JobStatus.VERIFYING,
}
_STORE_TRIES = 20  # about three minutes
_log = logging.getLogger(__name__)


class JobRunner:
    """The work of one worker process, one job at a time; see :class:`service.engine.port.JobWork`.

    Args:
        executor_id: The worker's name.
        settings: Limits and addresses.
        environment: The environment of the stages' processes, before the settings are added.
        runs: The worker's side of the database.
        artifacts: Where models come from and results go to.
        pid: This process, the parent of the stages' processes.
        leave: Ends this process at once with an exit code.
    """

    def __init__(
        self,
        executor_id: str,
        *,
        settings: Settings,
        environment: Mapping[str, str],
        runs: RunStore,
        artifacts: ArtifactStore,
        pid: int,
        leave: Callable[[int], NoReturn],
    ) -> None:
        self._executor_id = executor_id
        self._settings = settings
        self._environment = environment
        self._runs = runs
        self._artifacts = artifacts
        self._folders = WorkFolders(settings.jobs_dir)
        self._pid = pid
        self._leave = leave
        self._run: JobRun | None = None
        self._current: str | None = None
        self._draining = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of a job; the last one runs here: only the worker writes to the store."""
        return (*CHILD_STAGES, "publish")

    @property
    def current(self) -> str | None:
        """The job that this worker has begun, if any."""
        return self._current

    def drain(self) -> None:
        """Ask the running stage to stop, and take no further job."""
        self._draining.set()

    async def asked_to_leave(self) -> None:
        """Wait for :meth:`drain`."""
        await self._draining.wait()

    async def drained(self) -> None:
        """Wait until this worker holds no work that it could still hand back."""
        await self._free.wait()

    async def begin(self, job_id: str) -> bool:
        """See the port."""
        if self._draining.is_set():
            await _for_ever()  # stays taken, is not charged: the next worker begins it
        self._current = job_id
        self._free.clear()
        return await self._guarded(job_id, self._begin(job_id))

    async def run_stage(self, job_id: str, stage: str) -> bool:
        """See the port."""
        return await self._guarded(job_id, self._stage(stage))

    async def stopped(self, job_id: str) -> None:
        """See the port. Without a run here, the sweep finds the job and ends it."""
        if self._run is None or self._run.job_id != job_id:
            return
        if await patiently(self._runs.wanted, job_id) is Wanted.CANCEL:
            await self._guarded(job_id, self._cancel())

    async def _guarded(self, job_id: str, work: Coroutine[Any, Any, bool]) -> bool:
        """Leave if the job was taken over; end it if we have a bug."""
        try:
            return await work
        except FencedError:
            _log.warning("fenced", extra={"action": "leave", "job_id": job_id})
            self._leave(EXIT_FENCED)
        except Exception:  # noqa: BLE001 - whatever it is, the job must end
            _log.exception("the worker failed on a job", extra={"job_id": job_id})
            await self._fail(error_of("internal"))
            return False

    async def _begin(self, job_id: str) -> bool:
        begun = await patiently(self._runs.begin, job_id, self._executor_id)
        fault("claim")
        if begun is None:
            await self._leave_job(job_id)
            return False
        return await self._open(begun, last_fault="worker-lost")

    async def _open(self, begun: Begun, *, last_fault: str) -> bool:
        """Make ready for the stages; whether there is something to do."""
        deadline = asyncio.get_running_loop().time() + self._settings.max_runtime
        nowhere = self._settings.jobs_dir / begun.job.id
        self._run = JobRun(begun=begun, path=nowhere, stages={}, deadline=deadline)
        if begun.verdict is Verdict.CANCEL:
            return await self._cancel()
        if begun.verdict is Verdict.GIVE_UP:
            await self._fail(error_of(last_fault))
            return False
        opening = partial(
            open_run,
            begun,
            settings=self._settings,
            folders=self._folders,
            artifacts=self._artifacts,
            deadline=deadline,
        )
        try:
            self._run = await with_tries(opening, code="storage-unavailable", tries=_STORE_TRIES)
        except (SecateurError, OSError) as error:
            await self._fail(_store_error(error))
            return False
        return True

    async def _stage(self, stage: str) -> bool:
        if stage == "publish":
            missing = [name for name in CHILD_STAGES if name not in self._here.stages]
        else:
            missing = _up_to(stage, self._here.stages)
        while missing:
            if not await self._child_stage(missing[0]):
                return False
            missing = [name for name in missing if name not in self._here.stages]
            # A retry begins in a new folder, where files of earlier stages may be lost.
            missing = missing and _up_to(missing[-1], self._here.stages)
        return await self._publish() if stage == "publish" else True

    async def _child_stage(self, stage: str) -> bool:
        """Run one child process and obey the verdict; False if the job has ended."""
        run = self._here
        await patiently(self._runs.set_stage, run.job_id, run.fence, STATUS_OF[stage])
        end = await self._child(stage)
        verdict = judge(end, run.begun.faults)
        if end.ending is Ending.STOPPED and not isinstance(verdict, Done):
            await self._hand_back()
        match verdict:
            case Done(files=files):
                run.stages[stage] = new_files(run.stages, files)
                await patiently(self._runs.finish_stage, run.job_id, run.fence, run.stages)
                if end.ending is Ending.STOPPED:
                    await self._hand_back()
                return True
            case Fail(error=error):
                self._log_failure(stage, end, str(error["code"]))
                await self._fail(error)
                return False
            case Retry(code=code):
                self._log_failure(stage, end, code)
                begun = await patiently(self._runs.retry, run.job_id, run.fence, code)
                return await self._open(begun, last_fault=code)

    async def _child(self, stage: str) -> ChildEnd:
        return await run_stage_process(
            self._here,
            stage,
            settings=self._settings,
            environment=self._environment,
            runs=self._runs,
            parent=self._pid,
            stop=self._draining,
        )

    async def _publish(self) -> bool:
        run = self._here
        await patiently(self._runs.set_stage, run.job_id, run.fence, STATUS_OF["publish"])
        putting = partial(publish, run.path, run.begun.job.owner, self._artifacts)
        try:
            stored = await with_tries(putting, code="storage-unavailable", tries=_STORE_TRIES)
        except (SecateurError, OSError) as error:
            await self._fail(_store_error(error))
            return False
        await self._end(
            Outcome(
                status=JobStatus.SUCCEEDED,
                result=await asyncio.to_thread(figures, run.path),
                artifacts=stored,
            )
        )
        return False

    async def _hand_back(self) -> NoReturn:
        """Give the job to the next worker, and never return: the engine must not count it done."""
        run = self._here
        await patiently(self._runs.hand_back, run.job_id, run.fence)
        _log.info("handed back", extra={"action": "drain", "job_id": run.job_id})
        self._free.set()
        await _for_ever()

    async def _cancel(self) -> bool:
        await self._end(Outcome(status=JobStatus.CANCELLED))
        return False

    async def _fail(self, error: Mapping[str, Any]) -> None:
        await self._end(Outcome(status=JobStatus.FAILED, error=error))

    async def _end(self, outcome: Outcome) -> None:
        """Record the end, and leave nothing behind but the record."""
        run = self._here
        status = await patiently(self._runs.finish, run.job_id, run.fence, outcome)
        _log.info(
            "job ended",
            extra={"action": "finish", "job_id": run.job_id, "status": status.value},
        )
        await self._leave_job(run.job_id)

    async def _leave_job(self, job_id: str) -> None:
        self._run = self._current = None
        await asyncio.to_thread(self._folders.remove, job_id)
        self._free.set()

    @property
    def _here(self) -> JobRun:
        assert self._run is not None, "a job is begun before its stages run"
        return self._run

    def _log_failure(self, stage: str, end: ChildEnd, code: str) -> None:
        run = self._here
        _log.warning(
            "a stage failed",
            extra={
                "action": "stage",
                "job_id": run.job_id,
                "attempt": run.begun.job.attempt,
                "fence": run.fence,
                "stage": stage,
                "code": code,
                "exit_code": end.exit_code,
                "ending": end.ending.value,
                "tail": run.log_tail(),
            },
        )


def _up_to(stage: str, finished: Mapping[str, object]) -> list[str]:
    """The stages up to and with ``stage`` whose files are not there."""
    wanted = CHILD_STAGES[: CHILD_STAGES.index(stage) + 1]
    return [name for name in wanted if name not in finished]


def _store_error(error: SecateurError | OSError) -> dict[str, Any]:
    """The job's error when its files cannot be read or stored."""
    if isinstance(error, SecateurError):
        return error_of(error.code)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return error_of("insufficient-storage" if is_full else "internal")


async def _for_ever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError
