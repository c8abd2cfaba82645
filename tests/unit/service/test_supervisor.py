"""Children are kept running, and stopped in order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import supervisor
from service.errors import RequestError
from service.settings import Settings
from service.supervisor import LONGEST_PAUSE, Child, Supervisor, listen, web_child, worker_child

SLEEP = "import time; time.sleep(600)"
DEAF = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); {SLEEP}"
)


def child(code: str, clock: Callable[[], float] = time.monotonic) -> Child:
    return Child(
        name="x", command=[sys.executable, "-c", code], environment=os.environ, clock=clock
    )


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_pauses_grow_and_start_again_small_after_a_stable_life() -> None:
    now = 0.0
    crashing = child("exit(3)", clock=lambda: now)
    pauses = []
    for _ in range(9):
        crashing.look()
        assert crashing.process is not None
        crashing.process.wait()
        crashing.look()
        assert crashing.process is None
        pauses.append(crashing._next_start - now)
        now = crashing._next_start - 0.01
        crashing.look()
        assert crashing.process is None, "too early"
        now = crashing._next_start
    assert pauses == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    crashing.look()
    assert crashing.process is not None
    crashing.process.wait()
    now += supervisor.STABLE_SECONDS
    crashing.look()
    assert crashing._next_start - now == 0.5


def test_sigterm_stops_the_children_and_the_supervisor() -> None:
    children = [child(SLEEP), child(SLEEP)]
    timer = threading.Thread(
        target=lambda: _signal_when(lambda: all(c.is_running for c in children))
    )
    timer.start()
    assert Supervisor(children).run() == 0
    timer.join()
    for one in children:
        assert one.process is not None
        assert one.process.returncode == -signal.SIGTERM


def test_who_does_not_leave_in_time_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        deaf = child(SLEEP)
        deaf.process = process
        threading.Thread(target=lambda: _signal_when(lambda: True)).start()
        assert Supervisor([deaf], stop_seconds=0.2).run() == 1
        assert process.wait() == -signal.SIGKILL


def _signal_when(condition: Callable[[], bool]) -> None:
    while not condition() or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_to_nobody() -> None:
    idle = child(SLEEP)
    idle.signal(signal.SIGTERM)
    assert not idle.is_running


def test_commands(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, worker_id="worker-a")
    with listen(settings) as listener:
        web = web_child(settings, {"PATH": "/bin"}, listener)
        assert web.descriptors == (listener.fileno(),)
        assert web.environment["SECATEUR_DATA_DIR"] == str(tmp_path)
        assert web.environment["PATH"] == "/bin"
    names = [worker_child(settings, {}, number).name for number in range(2)]
    assert names == ["worker-a", "worker-a-1"]


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with listen(Settings(data_dir=tmp_path, port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=f"cannot listen on 127.0.0.1:{port}: .*--port"):
            listen(Settings(data_dir=tmp_path, port=port))
