"""The line protocol between the process that runs a stage and the worker.

One JSON object per line on the process's original stdout: ``kind``, ``seq``, then data. Kinds are
``progress``, ``metric``, ``event``, ``checkpoint``, ``resumed``, and as the last line ``result`` or
``failed``. Anything else that arrives is text that some library has printed.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

KINDS = frozenset({"progress", "metric", "event", "checkpoint", "resumed", "result", "failed"})
LINE_LIMIT = 64 * 1024  # bytes, with the newline
PROGRESS_INTERVAL = 0.5  # seconds


class LineWriter:
    """The sending side; at most two progress lines per second reach the pipe.

    A progress line that came too early is kept, and goes out before the next other line, so the
    last one is never lost. Thread-safe.
    """

    def __init__(self, descriptor: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._seq = 0
        self._waiting: Mapping[str, Any] | None = None
        self._last_progress = -PROGRESS_INTERVAL
        self._lock = threading.Lock()

    def report(self, line: Mapping[str, Any]) -> None:
        """Send one line; ``kind`` must be one of :data:`KINDS`."""
        if line.get("kind") not in KINDS:
            message = f"a line of kind {line.get('kind')!r}; known: {sorted(KINDS)}"
            raise ValueError(message)
        with self._lock:
            if line["kind"] != "progress":
                self._send_waiting()
                self._send(line)
                return
            self._waiting = line
            if self._clock() - self._last_progress >= PROGRESS_INTERVAL:
                self._send_waiting()

    def flush(self) -> None:
        """Send the progress line that was held back, if there is one."""
        with self._lock:
            self._send_waiting()

    def _send_waiting(self) -> None:
        if self._waiting is not None:
            self._last_progress = self._clock()
            self._send(self._waiting)
            self._waiting = None

    def _send(self, line: Mapping[str, Any]) -> None:
        self._seq += 1
        data = _encode({**line, "seq": self._seq})
        if len(data) > LINE_LIMIT:
            short = {"kind": line["kind"], "seq": self._seq, "truncated": True}
            data = _encode({**short, **{key: line[key] for key in ("step",) if key in line}})
        while data:
            data = data[os.write(self._descriptor, data) :]


def _encode(line: Mapping[str, Any]) -> bytes:
    """JSON on one line; what JSON does not know, NaN included, becomes null or text."""
    try:
        text = json.dumps(line, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        text = json.dumps(_plain(line), allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """One line as an object; None if it is not of this protocol."""
    if not raw.startswith(b"{") or len(raw) > LINE_LIMIT:
        return None
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or line.get("kind") not in KINDS:
        return None
    return line
