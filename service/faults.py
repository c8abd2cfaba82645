"""Failpoints: named places where a test can make a process die, hang or fail.

``SECATEUR_FAULT="train.step:kill9@2,put.done:raise"`` means: at the second hit of ``train.step``
kill this process with SIGKILL, and at every hit of ``put.done`` raise. Without the variable a
failpoint does nothing.
"""

import errno
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass

from graph_analysis.errors import InputError

ACTIONS = ("kill9", "term", "abort", "raise", "enospc", "sleep", "stop")
_HANG_SECONDS = 3600.0
_SIGNALS = {"kill9": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


@dataclass(frozen=True, kw_only=True)
class Failpoint:
    """What happens at the ``hit``-th visit of ``name``; at every visit if ``hit`` is None."""

    name: str
    action: str
    hit: int | None


class InjectedFaultError(RuntimeError):
    """A failpoint with the action ``raise``."""


_armed: dict[str, Failpoint] = {}
_hits: Counter[str] = Counter()


def parse(text: str) -> tuple[Failpoint, ...]:
    """Read ``name:action@hit,...``.

    Raises:
        InputError: The text does not have that form.

    Example:
        >>> parse("ckpt.tmp:kill9@2")
        (Failpoint(name='ckpt.tmp', action='kill9', hit=2),)
    """
    points = []
    for part in filter(None, text.split(",")):
        name, _, rest = part.partition(":")
        action, _, hit = rest.partition("@")
        if not name or action not in ACTIONS or (hit and not hit.isdigit()):
            message = f"SECATEUR_FAULT: {part!r} is not name:action@hit with one of {ACTIONS}"
            raise InputError(message, param="SECATEUR_FAULT")
        points.append(Failpoint(name=name, action=action, hit=int(hit) if hit else None))
    return tuple(points)


def arm(text: str) -> None:
    """Set this process's failpoints, and start counting from zero."""
    _armed.clear()
    _hits.clear()
    _armed.update({point.name: point for point in parse(text)})


def fault(name: str) -> None:
    """Do nothing, unless the failpoint ``name`` is armed."""
    point = _armed.get(name)
    if point is None:
        return
    _hits[name] += 1
    if point.hit is None or _hits[name] == point.hit:
        _act(point)


def _act(point: Failpoint) -> None:
    if point.action == "raise":
        message = f"injected at {point.name}"
        raise InjectedFaultError(message)
    if point.action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), point.name)
    if point.action == "sleep":
        time.sleep(_HANG_SECONDS)
    elif point.action == "abort":
        os.abort()
    else:
        os.kill(os.getpid(), _SIGNALS[point.action])
