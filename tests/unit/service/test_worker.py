"""The worker process, in this process and as one of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service import worker, worker_process
from service.engine.memory_engine import MemoryEngine
from service.errors import UnavailableError
from service.executor_lock import ExecutorLocks
from service.jobs import JobStatus
from service.migrations import migrate
from service.worker import leave, work
from tests.unit.service.worker_parts import OWNER, quick_settings, worker_parts


class Left(BaseException):
    """Stands for the end of the process."""


def test_jobs_are_done_until_sigterm(tmp_path: Path) -> None:
    with worker_parts(tmp_path) as parts:
        job_id = parts.submit(steps=1)
        locks = ExecutorLocks(parts.settings.locks_dir)

        async def scenario() -> None:
            working = asyncio.create_task(
                work(
                    parts.settings,
                    os.environ,
                    database=parts.database,
                    engine=parts.engine,
                    locks=locks,
                )
            )
            async with asyncio.timeout(120):
                while not parts.store.get(OWNER, job_id).is_terminal:
                    await asyncio.sleep(0.05)
                os.kill(os.getpid(), signal.SIGTERM)
                await working

        asyncio.run(scenario())
        assert parts.store.get(OWNER, job_id).status is JobStatus.SUCCEEDED


def test_the_second_signal_leaves_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(worker, "leave", left.append)

    class Runner:
        drains = 0

        def drain(self) -> None:
            self.drains += 1

    runner = Runner()
    handle = worker._Signals(runner)  # type: ignore[arg-type]
    handle()
    assert (runner.drains, left) == (1, [])
    handle()
    assert left == [0]


def test_a_drain_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_LONGEST_DRAIN", 0.01)

    class Runner:
        async def asked_to_leave(self) -> None:
            return

        async def drained(self) -> None:
            await asyncio.Event().wait()

    asyncio.run(worker._until_drained(Runner()))  # type: ignore[arg-type]


def test_the_sweep_survives_what_goes_wrong() -> None:
    class Sweep:
        passes = 0

        def run_once(self) -> None:
            self.passes += 1
            if self.passes == 1:
                message = "locked"
                raise UnavailableError(message)
            if self.passes == 2:
                raise ZeroDivisionError

    async def scenario(sweep: Sweep) -> None:
        sweeping = asyncio.create_task(worker._sweep_for_ever(sweep, 0.01))  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            while sweep.passes < 4:
                await asyncio.sleep(0.01)
        sweeping.cancel()

    asyncio.run(scenario(Sweep()))


def test_leaving_is_immediate(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_now(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(os, "_exit", exit_now)
    monkeypatch.setattr(worker.logging, "shutdown", lambda: None)
    with pytest.raises(Left):
        leave(3)


@pytest.mark.parametrize("is_taken", [True, False])
def test_the_process_exits_75_under_a_name_in_use_and_0_after_a_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_taken: bool
) -> None:
    settings = quick_settings(tmp_path)
    locks = ExecutorLocks(settings.locks_dir)
    descriptor = locks.hold(settings.worker_id) if is_taken else None

    def leave_now(code: int) -> None:
        raise Left(code)

    async def work_nothing(*_: object, **__: object) -> None:
        return

    monkeypatch.setattr(worker, "leave", leave_now)
    monkeypatch.setattr(worker, "work", work_nothing)
    monkeypatch.setattr(worker, "configure_logs", lambda **_: None)
    monkeypatch.setattr(worker, "DbosEngine", lambda *_, **__: MemoryEngine())
    monkeypatch.setattr("service.executor_lock._RETRY_SECONDS", 0.0)
    hold = ExecutorLocks.hold
    monkeypatch.setattr(ExecutorLocks, "hold", lambda self, name: hold(self, name, patience=0.0))
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(worker_process, "die_with_parent", lambda *_: None)
    with pytest.raises(Left) as info:
        worker_process.main(["--id", settings.worker_id, "--parent", "1"])
    assert info.value.args == (75 if is_taken else 0,)
    if descriptor is not None:
        os.close(descriptor)


def test_a_real_process_drains_on_sigterm(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path)
    migrate(settings)
    command = [sys.executable, "-m", "service.worker_process", "--id", "worker-a"]
    command += ["--parent", str(os.getpid())]
    environment = {**os.environ, **settings.to_environment()}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "worker ready" in process.stderr.readline()
        assert ExecutorLocks(settings.locks_dir).is_held("worker-a")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
