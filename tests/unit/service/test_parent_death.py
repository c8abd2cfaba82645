"""A child never outlives its parent."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.parent_death import die_with_parent

CHILD = """
import os, signal, sys, time
from service.parent_death import die_with_parent
die_with_parent(int(sys.argv[1]), signal.SIGKILL)
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
child.wait()
"""


def test_the_child_of_a_killed_parent_is_killed() -> None:
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # The pipe ends when the last process that holds it is gone: the child.
        assert parent.stdout.read() == ""


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    stranger = str(os.getpid() + 1)
    command = [sys.executable, "-c", CHILD, stranger]
    assert subprocess.run(command, check=False, timeout=60).returncode == 75


class Libc:
    """Stands for the C library: this process keeps its own death signal."""

    def __init__(self, answer: int) -> None:
        self.calls: list[tuple[int, ...]] = []
        self._answer = answer

    def prctl(self, *arguments: int) -> int:
        self.calls.append(arguments)
        return self._answer


def test_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    libc = Libc(0)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: libc)
    monkeypatch.setattr(os, "_exit", left.append)
    die_with_parent(os.getppid(), signal.SIGTERM)
    assert (libc.calls, left) == ([(1, signal.SIGTERM, 0, 0, 0)], [])
    die_with_parent(os.getpid(), signal.SIGTERM)
    assert left == [75]
    monkeypatch.setattr(sys, "platform", "darwin")
    die_with_parent(os.getpid(), signal.SIGTERM)
    assert len(libc.calls) == 2


def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc(-1))
    with pytest.raises(OSError, match="PDEATHSIG"):
        die_with_parent(os.getppid(), signal.SIGTERM)
