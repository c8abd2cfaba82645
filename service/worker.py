"""The worker process: takes the executor lock, works on jobs, sweeps, and drains on SIGTERM.

Exit codes: 0 drained; 75 the worker's name is in use; 76 fenced. The process always leaves at once
(``os._exit``): what it was doing stays taken in the job engine, and a restart or a peer resumes it.
"""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import sqlalchemy as sa

from service.database import create_database
from service.engine.dbos_engine import DbosEngine
from service.engine.port import JobEngine
from service.errors import UnavailableError
from service.executor_lock import ExecutorIdInUseError, ExecutorLocks
from service.faults import arm
from service.job_runner import JobRunner
from service.logs import configure_logs
from service.run_store import RunStore
from service.settings import Settings
from service.storage import ArtifactStore
from service.sweep import Sweep
from service.work_folders import WorkFolders
from service.worker_registry import WorkerRegistry

EXIT_ID_IN_USE = 75
_LONGEST_DRAIN = 20.0  # seconds; the supervisor waits a little longer
_log = logging.getLogger(__name__)


def run_worker(settings: Settings, environment: Mapping[str, str]) -> NoReturn:
    """Work until SIGTERM; never returns.

    The database must have been migrated.

    Args:
        settings: All settings; ``worker_id`` is this worker's name.
        environment: What the processes of the stages inherit.
    """
    configure_logs(process="worker")
    arm(settings.fault)
    locks = ExecutorLocks(settings.locks_dir)
    try:
        locks.hold(settings.worker_id)
    except ExecutorIdInUseError as error:
        _log.error("%s", error, extra={"action": "start"})
        leave(EXIT_ID_IN_USE)
    database = create_database(settings.database_url)
    engine = DbosEngine(database, poll_interval=settings.poll_interval)
    asyncio.run(work(settings, environment, database=database, engine=engine, locks=locks))
    leave(0)


def leave(code: int) -> NoReturn:
    """End this process now: no clean-up that could let a step return."""
    logging.shutdown()
    os._exit(code)


async def work(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    database: sa.Engine,
    engine: JobEngine,
    locks: ExecutorLocks,
) -> None:
    """Work on jobs until SIGTERM or SIGINT, under a lock that the caller holds."""
    runs = RunStore(database, max_attempts=settings.max_attempts)
    runner = JobRunner(
        settings.worker_id,
        settings=settings,
        environment=environment,
        runs=runs,
        artifacts=ArtifactStore(settings.store_url),
        pid=os.getpid(),
        leave=leave,
    )
    registry = WorkerRegistry(database, locks)
    registry.register(settings.worker_id, pid=os.getpid())
    sweep = Sweep(
        me=settings.worker_id,
        engine=engine,
        runs=runs,
        registry=registry,
        locks=locks,
        folders=WorkFolders(settings.jobs_dir),
        lease=settings.lease,
        current=lambda: runner.current,
    )
    _drain_on_signals(runner)
    sweeping = asyncio.create_task(_sweep_for_ever(sweep, settings.sweep_interval))
    _log.info("worker ready", extra={"action": "start", "worker": settings.worker_id})
    try:
        await engine.run_worker(settings.worker_id, runner, lambda: _until_drained(runner))
    finally:
        sweeping.cancel()


@dataclass
class _Signals:
    """The first signal drains, the second ends the process."""

    runner: JobRunner
    count: int = 0

    def __call__(self) -> None:
        self.count += 1
        if self.count > 1:
            leave(0)
        self.runner.drain()


def _drain_on_signals(runner: JobRunner) -> None:
    handle = _Signals(runner)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)


async def _until_drained(runner: JobRunner) -> None:
    await runner.asked_to_leave()
    try:
        await asyncio.wait_for(runner.drained(), _LONGEST_DRAIN)
    except TimeoutError:
        _log.warning("left before the job could be handed back", extra={"action": "drain"})


async def _sweep_for_ever(sweep: Sweep, interval: float) -> None:
    while True:
        try:
            await asyncio.to_thread(sweep.run_once)
        except UnavailableError:
            _log.warning("the database did not answer", extra={"action": "sweep"})
        except Exception:  # noqa: BLE001 - the next pass may work; the jobs must not stop for it
            _log.exception("the sweep failed", extra={"action": "sweep"})
        await asyncio.sleep(interval * random.uniform(0.8, 1.2))
