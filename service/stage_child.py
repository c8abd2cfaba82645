"""Starting, watching and ending the process of one stage.

The child runs in a session of its own, without stdin; its stdout is always read, because a full
pipe would stop it. Whatever it leaves running in its process group is killed when it ends.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.stage_lines import LINE_LIMIT, parse_line

_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")
_CHUNK = 64 * 1024
_REST_SECONDS = 2.0


class Ending(StrEnum):
    """Why a stage's process is no longer there."""

    EXITED = "exited"  # by itself
    STOPPED = "stopped"  # we asked it to
    STALLED = "stalled"  # no sign of life
    DEADLINE = "deadline"  # ran for too long
    OUT_OF_MEMORY = "out-of-memory"  # killed by the kernel


@dataclass(frozen=True, kw_only=True)
class ChildEnd:
    """How a stage's process ended.

    Attributes:
        ending: Why.
        exit_code: As the operating system reports it; negative for a signal.
        last_line: The line ``result`` or ``failed``, if one came.
    """

    ending: Ending
    exit_code: int
    last_line: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a stage may be silent, run, and take to stop, in seconds."""

    stall: float
    runtime: float
    grace: float


async def run_child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    on_line: Callable[[Mapping[str, Any]], None],
    stop: asyncio.Event,
    limits: Limits,
) -> ChildEnd:
    """Run a stage's process to its end.

    It is started by the calling thread, which must live as long as the child may: the kernel sends
    the child its death signal when that thread ends.

    Args:
        command: Program and arguments.
        environment: The child's whole environment.
        log: Where its stderr is appended.
        on_line: Called with every line but the last (``result`` or ``failed``).
        stop: Setting it asks the child to stop.
        limits: When to give up on it.

    Raises:
        asyncio.CancelledError: The caller was cancelled; the child is gone by then.
    """
    kills_before = _oom_kills()
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    watch = _Watch(process, on_line)
    grace = 0.0  # a job that was cancelled has nothing left to save
    try:
        ending = await watch.until_end(stop, limits)
        grace = limits.grace
    finally:
        await asyncio.shield(asyncio.ensure_future(watch.end(grace)))
    code = process.returncode
    assert code is not None, "the process was waited for"
    if ending is Ending.EXITED and code == -signal.SIGKILL and _oom_kills() > kills_before:
        ending = Ending.OUT_OF_MEMORY
    return ChildEnd(ending=ending, exit_code=code, last_line=watch.last_line)


class _Watch:
    """One running child."""

    def __init__(
        self, process: asyncio.subprocess.Process, on_line: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.last_line: Mapping[str, Any] | None = None
        self._process = process
        self._on_line = on_line
        self._last_heard = asyncio.get_running_loop().time()
        self._reading = asyncio.create_task(self._read())

    async def until_end(self, stop: asyncio.Event, limits: Limits) -> Ending:
        """Wait for the child to end, for a reason to end it, or for ``stop``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limits.runtime
        stopping = asyncio.create_task(stop.wait())
        exiting = asyncio.create_task(self._process.wait())
        waiting = {stopping, exiting}
        try:
            while True:
                quiet_end = self._last_heard + limits.stall
                patience = max(min(quiet_end, deadline) - loop.time(), 0)
                done, _ = await asyncio.wait(
                    waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if exiting in done:
                    return Ending.EXITED
                if stopping in done:
                    return Ending.STOPPED
                if loop.time() >= deadline:
                    return Ending.DEADLINE
                if loop.time() >= self._last_heard + limits.stall:
                    return Ending.STALLED
        finally:
            for task in waiting:
                task.cancel()

    async def end(self, grace: float) -> None:
        """Stop the child if it still runs, kill its whole group, and read the rest."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace)
        self._signal(signal.SIGKILL)
        await self._process.wait()
        with suppress(TimeoutError):  # somebody who left the group may hold the pipe open
            await asyncio.wait_for(self._reading, _REST_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    async def _read(self) -> None:
        assert self._process.stdout is not None, "stdout is a pipe"
        async for raw in _lines(self._process.stdout):
            self._last_heard = asyncio.get_running_loop().time()
            line = parse_line(raw)
            if line is None:
                continue
            if line["kind"] in ("result", "failed"):
                self.last_line = line
            else:
                self._on_line(line)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Lines without their newline; the rest of one that is longer than the limit is dropped."""
    buffer = b""
    while chunk := await stream.read(_CHUNK):
        *complete, buffer = (buffer + chunk).split(b"\n")
        for line in complete:
            yield line
        buffer = buffer[: LINE_LIMIT + 1]


def _oom_kills(events: Path = _CGROUP_EVENTS) -> int:
    """How often the kernel has killed a process of this container for want of memory."""
    try:
        pairs = [line.split() for line in events.read_text().splitlines()]
    except OSError:
        return 0
    return sum(int(count) for name, count in pairs if name == "oom_kill")
