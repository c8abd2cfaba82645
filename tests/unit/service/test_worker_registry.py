"""Which workers are alive."""

import os
import socket
from pathlib import Path

from service.executor_lock import ExecutorLocks, process_start
from service.testing import temporary_database
from service.worker_registry import open_registry


def test_alive_is_who_holds_the_lock(tmp_path: Path) -> None:
    database = temporary_database(tmp_path)
    registry = open_registry(database, tmp_path / "locks")
    assert registry.live() == ()
    registry.register("worker-a", pid=os.getpid())
    registry.register("worker-b", pid=os.getpid())
    descriptor = ExecutorLocks(tmp_path / "locks").hold("worker-b")
    assert registry.live() == ("worker-b",)
    os.close(descriptor)
    assert registry.live() == ()
    database.dispose()


def test_beats_and_processes(tmp_path: Path) -> None:
    database = temporary_database(tmp_path)
    registry = open_registry(database, tmp_path / "locks")
    registry.register("worker-a", pid=os.getpid())
    registry.beat("worker-a")
    registry.register("worker-a", pid=os.getpid())
    registry.beat("worker-unknown")
    assert registry.beats() == {"worker-a": 3}
    pid = os.getpid()
    assert registry.process_of("worker-a") == (socket.gethostname(), pid, process_start(pid))
    assert registry.process_of("worker-unknown") is None
    database.dispose()
