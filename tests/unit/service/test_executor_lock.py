"""One live process per name, also across processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.executor_lock import ExecutorIdInUseError, ExecutorLocks, evict, process_start

HOLDER = """
import sys, time
from pathlib import Path
from service.executor_lock import ExecutorLocks
ExecutorLocks(Path(sys.argv[1])).hold("worker-a")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def locks(tmp_path: Path) -> ExecutorLocks:
    return ExecutorLocks(tmp_path / "locks")


def test_the_kernel_gives_the_lock_back_when_the_holder_is_killed(
    locks: ExecutorLocks, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "locks")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert locks.is_held("worker-a")
        assert not locks.is_held("worker-b")
        with pytest.raises(ExecutorIdInUseError, match="'worker-a' is already running"):
            locks.hold("worker-a", patience=0.0)
        holder.send_signal(signal.SIGKILL)
    assert not locks.is_held("worker-a")
    descriptor = locks.hold("worker-a")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_an_attempt_keeps_others_out_while_it_lasts(locks: ExecutorLocks) -> None:
    with locks.attempt("worker-a") as free:
        assert free
        with locks.attempt("worker-a") as second:
            assert not second
    assert not locks.is_held("worker-a")


def test_a_predecessor_that_is_just_leaving_is_waited_for(
    locks: ExecutorLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = locks.hold("worker-a")
    monkeypatch.setattr(time, "sleep", lambda _seconds: os.close(old))
    os.close(locks.hold("worker-a", patience=60.0))


def test_only_the_recorded_process_is_evicted() -> None:
    here = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as victim:
        started = process_start(victim.pid)
        assert started is not None
        assert not evict("elsewhere", victim.pid, started)
        assert not evict(here, victim.pid, "0")
        assert not evict(here, victim.pid, "")
        assert victim.poll() is None
        assert evict(here, victim.pid, started)
        assert victim.wait() == -signal.SIGKILL
    assert process_start(2**22 + 1) is None
