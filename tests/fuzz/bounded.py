"""Cases run in child processes that may die: memory by rlimit, time by a watchdog outside.

A child is forked from a process that has imported everything and runs many cases; when it dies or
is killed, the case it was at is the finding, and the next child goes on after it.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from tests.fuzz.judge import Verdict, judge

MEMORY = 2 << 30  # bytes of address space that a child may add to what it starts with
SECONDS = 20.0  # for one case, on a busy machine
SLOW = 5.0  # reported, as a failure: no damaged model is large enough to take so long


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict on one case, and how long it took."""

    number: int
    verdict: Verdict
    seconds: float


def run_bounded(
    numbers: Sequence[int],
    data_of: Callable[[int], bytes],
    *,
    memory: int = MEMORY,
    seconds: float = SECONDS,
) -> Iterator[Outcome]:
    """Judge ``data_of(number)`` for every number, in order, whatever the cases do to the child."""
    context = multiprocessing.get_context("fork")
    position = 0
    while position < len(numbers):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, numbers[position:], data_of, memory)
        child = context.Process(target=_child, args=arguments, daemon=True)
        child.start()
        theirs.close()
        while position < len(numbers):
            outcome = _next(ours, child, numbers[position], seconds)
            yield outcome
            position += 1
            if not child.is_alive() or outcome.verdict.kind in ("died", "hung"):
                break
        child.kill()
        child.join()
        ours.close()


def _next(
    connection: Connection, child: multiprocessing.process.BaseProcess, number: int, seconds: float
) -> Outcome:
    try:
        if connection.poll(seconds + 10):
            found: Outcome = connection.recv()
            return found
    except EOFError:
        child.join()
        code = getattr(child, "exitcode", None)
        verdict = Verdict(kind="died", is_failure=True, detail=f"exit code {code}")
        return Outcome(number=number, verdict=verdict, seconds=0.0)
    verdict = Verdict(kind="hung", is_failure=True, detail=f"more than {seconds} s")
    return Outcome(number=number, verdict=verdict, seconds=seconds)


def _child(
    connection: Connection, numbers: Sequence[int], data_of: Callable[[int], bytes], memory: int
) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _address_space() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in numbers:
        data = data_of(number)
        start = time.monotonic()
        verdict = judge(data)
        seconds = time.monotonic() - start
        if seconds > SLOW and not verdict.is_failure:
            verdict = Verdict(kind=f"slow, {verdict.kind}", is_failure=True)
        connection.send(Outcome(number=number, verdict=verdict, seconds=seconds))
    connection.close()


def _address_space() -> int:
    with open("/proc/self/statm") as stream:  # noqa: PTH123  a kernel file, not a path of ours
        return int(stream.read().split()[0]) * resource.getpagesize()
