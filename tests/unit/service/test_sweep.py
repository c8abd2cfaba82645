"""What a worker does about the others."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.engine.port import EngineStatus
from service.executor_lock import ExecutorLocks
from service.jobs import JobStatus
from service.sweep import BeatWatch, Sweep
from service.work_folders import WorkFolders
from service.worker_registry import WorkerRegistry
from tests.unit.service.worker_parts import OWNER, Parts, worker_parts

ME, PEER = "worker-a", "worker-b"


class Others:
    """A sweeping worker and everything around it; time stands still unless told otherwise."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.locks = ExecutorLocks(parts.settings.locks_dir)
        self.registry = WorkerRegistry(parts.database, self.locks)
        self.folders = WorkFolders(parts.settings.jobs_dir)
        self.current: str | None = None
        self.time = 0.0
        self.sweep = Sweep(
            me=ME,
            engine=parts.engine,
            runs=parts.runs,
            registry=self.registry,
            locks=self.locks,
            folders=self.folders,
            lease=30.0,
            current=lambda: self.current,
            watch=BeatWatch(clock=lambda: self.time),
        )
        self.registry.register(ME, pid=os.getpid())

    def begun_by(self, executor: str) -> str:
        """A job that a worker has taken from the queue and begun."""
        job_id = self.parts.submit()
        entry = self.parts.engine._entries[job_id]
        entry.status, entry.executor = EngineStatus.RUNNING, executor
        self.parts.runs.begin(job_id, executor)
        return job_id

    def status(self, job_id: str) -> JobStatus:
        return self.parts.store.get(OWNER, job_id).status

    def engine_status(self, job_id: str) -> EngineStatus:
        return self.parts.engine.status(job_id)


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Others]:
    with worker_parts(tmp_path) as parts:
        yield Others(parts)


def test_the_jobs_of_a_dead_worker_are_queued_again(others: Others) -> None:
    orphan, mine = others.begun_by(PEER), others.begun_by(ME)
    others.sweep.run_once()
    assert others.engine_status(orphan) is EngineStatus.QUEUED
    assert others.engine_status(mine) is EngineStatus.RUNNING


def test_a_live_worker_keeps_its_jobs(others: Others) -> None:
    job_id = others.begun_by(PEER)
    descriptor = others.locks.hold(PEER)
    others.sweep.run_once()
    assert others.engine_status(job_id) is EngineStatus.RUNNING
    os.close(descriptor)


def test_a_frozen_worker_is_killed_once_its_heartbeat_stood_still(others: Others) -> None:
    script = "import sys, time\nfrom pathlib import Path\n"
    script += "from service.executor_lock import ExecutorLocks\n"
    script += f"ExecutorLocks(Path({str(others.parts.settings.locks_dir)!r})).hold({PEER!r})\n"
    script += "print(1, flush=True)\ntime.sleep(600)"
    job_id = others.begun_by(PEER)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as frozen:
        assert frozen.stdout is not None
        frozen.stdout.readline()
        others.registry.register(PEER, pid=frozen.pid)
        for moment in (0.0, 20.0):
            others.time = moment
            others.sweep.run_once()
        others.registry.beat(PEER)
        for moment in (40.0, 69.0):
            others.time = moment
            others.sweep.run_once()
        assert frozen.poll() is None
        others.time = 71.0
        others.sweep.run_once()
        assert frozen.wait() == -signal.SIGKILL
    others.sweep.run_once()
    assert others.engine_status(job_id) is EngineStatus.QUEUED


def test_a_worker_that_nobody_registered_cannot_be_killed(others: Others) -> None:
    others.begun_by(PEER)
    descriptor = others.locks.hold(PEER)
    others.sweep.watch.observe({PEER: 1})
    others.time = 100.0
    others.sweep.run_once()
    os.close(descriptor)


def test_a_cancel_that_no_live_worker_can_carry_out(others: Others) -> None:
    orphan, mine = others.begun_by(PEER), others.begun_by(ME)
    for job_id in (orphan, mine):
        others.parts.store.request_cancel(OWNER, job_id)
    assert others.status(orphan) is JobStatus.CANCELLING
    others.sweep.run_once()
    assert others.status(orphan) is JobStatus.CANCELLED
    assert others.status(mine) is JobStatus.CANCELLED
    assert others.engine_status(orphan) is EngineStatus.STOPPED


def test_a_cancel_that_the_engine_was_not_told_of(others: Others) -> None:
    mine, theirs = others.begun_by(ME), others.begun_by(PEER)
    others.current = mine
    descriptor = others.locks.hold(PEER)
    for job_id in (mine, theirs):
        others.parts.store.request_cancel(OWNER, job_id)
        others.parts.engine._entries[job_id].status = EngineStatus.RUNNING
    others.sweep.run_once()
    for job_id in (mine, theirs):
        assert others.status(job_id) is JobStatus.CANCELLING
        assert others.engine_status(job_id) is EngineStatus.STOPPED
    os.close(descriptor)


def test_folders_of_jobs_that_ended_are_removed(others: Others) -> None:
    active, over, current = others.begun_by(ME), others.begun_by(ME), others.begun_by(ME)
    for job_id in (active, over, current, "job_unknown"):
        others.folders.open(job_id, 1, {})
    for job_id in (over, current):
        others.parts.store.request_cancel(OWNER, job_id)
        others.parts.runs.cancel_abandoned(job_id, ME)
    others.current = current
    others.sweep.run_once()
    assert set(others.folders.jobs()) == {active, current}


def test_our_own_heartbeat_is_counted(others: Others) -> None:
    before = others.registry.beats()[ME]
    others.sweep.run_once()
    assert others.registry.beats()[ME] == before + 1
    assert others.sweep.watch.still_for("stranger") == 0.0
