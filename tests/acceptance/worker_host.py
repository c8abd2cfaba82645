"""Real worker processes on the real job engine, with a fast fake instead of the training."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from service.database import create_database
from service.engine.dbos_engine import DbosEngine
from service.job_store import JobStore
from service.jobs import Job
from service.migrations import migrate
from service.run_store import RunStore
from service.storage import ArtifactStore
from tests.unit.service.worker_parts import OWNER, Parts, quick_settings, write_dataset

PATIENCE = 120.0


class WorkerHost:
    """A data folder with its database, and the workers that were started on it."""

    def __init__(self, folder: Path, database: sa.Engine) -> None:
        settings = quick_settings(folder)
        engine = DbosEngine(database, poll_interval=settings.poll_interval)
        self.parts = Parts(
            folder=folder,
            settings=settings,
            database=database,
            engine=engine,  # type: ignore[arg-type]
            store=JobStore(database, engine),
            runs=RunStore(database, max_attempts=settings.max_attempts),
            artifacts=ArtifactStore(settings.store_url),
        )
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str = "worker-a", *, fault: str = "") -> "subprocess.Popen[bytes]":
        """Start a worker process."""
        environment = {**os.environ, **self.parts.settings.to_environment()}
        environment["SECATEUR_FAULT"] = fault
        command = [sys.executable, "-m", "service.worker_process", "--id", name]
        process = subprocess.Popen(
            [*command, "--parent", str(os.getpid())], env=environment, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    def submit(self, **script: object) -> str:
        """A job that writes the steps it executes to the trace; its id."""
        return self.parts.submit(trace=str(self.parts.trace), **script)

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        return self.parts.store.get(OWNER, job_id)

    def wait_for_steps(self, count: int) -> None:
        """Wait until that many training steps were executed."""
        wait(lambda: len(self.parts.steps()) >= count)

    def wait_for_end(self, job_id: str) -> Job:
        """Wait until the job has ended and nothing of it is left in the work folder."""
        wait(lambda: self.job(job_id).is_terminal)
        wait(lambda: not (self.parts.settings.jobs_dir / job_id).exists())
        return self.job(job_id)


def wait(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def worker_host(folder: Path) -> Iterator[WorkerHost]:
    """A host without workers; those that are started on it end with the block."""
    settings = quick_settings(folder)
    write_dataset(folder)
    migrate(settings)
    database = create_database(settings.database_url)
    host = WorkerHost(folder, database)
    try:
        yield host
    finally:
        for process in host.processes:
            process.kill()
            process.wait()
        database.dispose()
