"""Starting, watching and ending child processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service import stage_child
from service.stage_child import ChildEnd, Ending, Limits, run_child

LIMITS = Limits(stall=60.0, runtime=60.0, grace=60.0)
EVENT = """print('{"kind":"event","seq":1}', flush=True)"""
SLEEP = "import time; time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {EVENT}; {SLEEP}"
POLITE = f"import signal; signal.signal(signal.SIGTERM, lambda *_: exit(75)); {EVENT}; {SLEEP}"


class Case:
    """One run of a child that executes a few lines of Python."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.lines: list[Mapping[str, Any]] = []
        self.stop = asyncio.Event()
        self.heard = asyncio.Event()

    def take(self, line: Mapping[str, Any]) -> None:
        self.lines.append(line)
        self.heard.set()

    async def run(self, code: str, limits: Limits = LIMITS) -> ChildEnd:
        return await run_child(
            [sys.executable, "-c", code],
            environment=os.environ,
            log=self.log,
            on_line=self.take,
            stop=self.stop,
            limits=limits,
        )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_lines_log_and_exit_code(case: Case) -> None:
    code = (
        "import sys; sys.stderr.write('to the log'); print('noise');"
        f"{EVENT}; assert sys.stdin.read() == '';"
        """print('{"kind":"result","files":{}}'); print('no newline', end='')"""
    )
    end = asyncio.run(case.run(code))
    assert end == ChildEnd(
        ending=Ending.EXITED, exit_code=0, last_line={"kind": "result", "files": {}}
    )
    assert case.lines == [{"kind": "event", "seq": 1}]
    assert case.log.read_text() == "to the log"


def test_a_crash(case: Case) -> None:
    end = asyncio.run(case.run("import os; os.abort()"))
    assert (end.ending, end.exit_code, end.last_line) == (Ending.EXITED, -signal.SIGABRT, None)


def test_a_flood_without_newline_does_not_fill_the_memory(case: Case) -> None:
    code = (
        "import sys; sys.stdout.write('x' * 3_000_000); print();"
        """print('{"kind":"event","seq":2}')"""
    )
    end = asyncio.run(case.run(code))
    assert end.exit_code == 0
    assert case.lines == [{"kind": "event", "seq": 2}]


def test_asked_to_stop(case: Case) -> None:
    async def scenario() -> ChildEnd:
        running = asyncio.create_task(case.run(POLITE))
        await case.heard.wait()
        case.stop.set()
        return await running

    end = asyncio.run(scenario())
    assert (end.ending, end.exit_code) == (Ending.STOPPED, 75)


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        ({"stall": 0.5}, Ending.STALLED),
        ({"runtime": 0.5}, Ending.DEADLINE),
    ],
)
def test_silence_and_length_are_limited(
    case: Case, change: dict[str, float], ending: Ending
) -> None:
    end = asyncio.run(case.run(SLEEP, replace(LIMITS, **change)))
    assert (end.ending, end.exit_code) == (ending, -signal.SIGTERM)


def test_whoever_does_not_react_is_killed(case: Case) -> None:
    async def scenario() -> ChildEnd:
        running = asyncio.create_task(case.run(DEAF, replace(LIMITS, grace=0.1)))
        await case.heard.wait()
        case.stop.set()
        return await running

    end = asyncio.run(scenario())
    assert (end.ending, end.exit_code) == (Ending.STOPPED, -signal.SIGKILL)


def test_a_sign_of_life_is_enough(case: Case) -> None:
    code = f"import time\nfor _ in range(6):\n    {EVENT}\n    time.sleep(0.4)"
    end = asyncio.run(case.run(code, replace(LIMITS, stall=2.0)))
    assert end.ending is Ending.EXITED
    assert len(case.lines) == 6


def test_a_cancelled_caller_leaves_no_process(case: Case) -> None:
    code = "import subprocess, sys, os\n"
    code += f"child = subprocess.Popen([sys.executable, '-c', '{SLEEP}'])\n"
    code += """print('{"kind":"event","seq":1,"pid":%d}' % child.pid, flush=True)\nchild.wait()"""

    async def scenario() -> None:
        running = asyncio.create_task(case.run(code))
        await case.heard.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    grandchild = Path(f"/proc/{case.lines[0]['pid']}/stat")
    deadline = time.monotonic() + 60  # the kernel reaps it in its own time
    while grandchild.exists() and time.monotonic() < deadline:
        if grandchild.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.02)
    assert time.monotonic() < deadline


def test_a_kill_for_want_of_memory_is_recognised(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 2\n")
    count = stage_child._oom_kills
    monkeypatch.setattr(stage_child, "_oom_kills", lambda: count(events))
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert asyncio.run(case.run(kill)).ending is Ending.EXITED
    code = f"with open({str(events)!r}, 'w') as f: f.write('oom_kill 3')\n{kill}"
    assert asyncio.run(Case(tmp_path).run(code)).ending is Ending.OUT_OF_MEMORY
    assert count(tmp_path / "missing") == 0


def test_a_cancelled_child_is_killed_without_grace(tmp_path: Path) -> None:
    """It has nothing left to save, and the user was promised ten seconds."""

    async def cancel() -> float:
        case = Case(tmp_path)
        running = asyncio.ensure_future(case.run(DEAF))
        await case.heard.wait()
        began = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return time.monotonic() - began

    assert asyncio.run(cancel()) < 10
