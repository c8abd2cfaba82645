"""Failpoints."""

import errno
import os
import signal
import time
from collections.abc import Iterator

import pytest

from graph_analysis.errors import InputError
from service.faults import InjectedFaultError, arm, fault


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("")


def test_nothing_happens_unless_armed() -> None:
    arm("")
    fault("anything")


def test_only_the_nth_hit_acts() -> None:
    arm("a.b:raise@2,c:raise")
    fault("a.b")
    with pytest.raises(InjectedFaultError, match=r"a\.b"):
        fault("a.b")
    fault("a.b")
    for _ in range(2):
        with pytest.raises(InjectedFaultError):
            fault("c")


def test_a_full_disk() -> None:
    arm("put:enospc")
    with pytest.raises(OSError, match="put") as info:
        fault("put")
    assert info.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("action", "number"),
    [("kill9", signal.SIGKILL), ("term", signal.SIGTERM), ("stop", signal.SIGSTOP)],
)
def test_signals(monkeypatch: pytest.MonkeyPatch, action: str, number: signal.Signals) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, signal_number: sent.append((pid, signal_number)))
    arm(f"x:{action}")
    fault("x")
    assert sent == [(os.getpid(), number)]


def test_abort_and_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(os, "abort", lambda: called.append("abort"))
    monkeypatch.setattr(os, "kill", lambda *_: called.append("kill"))
    monkeypatch.setattr(time, "sleep", lambda _seconds: called.append("sleep"))
    arm("x:sleep")
    fault("x")
    assert called == ["sleep"]
    arm("x:abort")
    fault("x")
    assert called == ["sleep", "abort"]


@pytest.mark.parametrize("text", ["x", "x:explode", ":raise", "x:raise@two"])
def test_unreadable_failpoints(text: str) -> None:
    with pytest.raises(InputError, match="SECATEUR_FAULT"):
        arm(text)
