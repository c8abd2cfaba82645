"""What the end of a process means."""

import signal

import pytest

from service.problems import KINDS
from service.stage_child import ChildEnd, Ending
from service.stage_policy import _TEXTS, Done, Fail, Retry, error_of, judge


def ended(code: int, line: dict[str, object] | None = None) -> ChildEnd:
    return ChildEnd(ending=Ending.EXITED, exit_code=code, last_line=line)


def failed(code: str) -> dict[str, object]:
    return {"kind": "failed", "seq": 9, "code": code, "detail": "why", "param": "x"}


def test_done() -> None:
    line = {"kind": "result", "files": {"a": "b"}}
    assert judge(ended(0, line), []) == Done(files={"a": "b"})


@pytest.mark.parametrize(
    ("exit_code", "code"),
    [
        (2, "dataset-labels"),
        (3, "target-unreachable"),
        (4, "verification-failed"),
        (1, "training-diverged"),
    ],
)
def test_a_named_error_ends_the_job_at_once(exit_code: int, code: str) -> None:
    expected = Fail(error={"code": code, "detail": "why", "param": "x"})
    assert judge(ended(exit_code, failed(code)), []) == expected


@pytest.mark.parametrize(
    "end",
    [
        ended(1, failed("internal")),
        ended(1),
        ended(0),
        ended(2),
        ended(75),
        ended(-signal.SIGSEGV),
        ended(-signal.SIGKILL),
        ended(-signal.SIGKILL, failed("dataset-labels")),
    ],
)
def test_our_own_faults_get_one_second_chance(end: ChildEnd) -> None:
    assert judge(end, []) == Retry(code="internal")
    assert judge(end, ["worker-stalled"]) == Retry(code="internal")
    assert judge(end, ["internal"]) == Fail(error=error_of("internal"))


def test_out_of_memory_gets_one_second_chance() -> None:
    end = ChildEnd(ending=Ending.OUT_OF_MEMORY, exit_code=-9)
    assert judge(end, ["internal"]) == Retry(code="out-of-memory")
    assert judge(end, ["out-of-memory"]) == Fail(error=error_of("out-of-memory"))


def test_silence_and_deadline() -> None:
    stalled = ChildEnd(ending=Ending.STALLED, exit_code=-9)
    assert judge(stalled, ["worker-stalled"] * 2) == Retry(code="worker-stalled")
    late = ChildEnd(ending=Ending.DEADLINE, exit_code=75)
    assert judge(late, []) == Fail(error=error_of("deadline-exceeded"))


def test_every_text_belongs_to_a_documented_code() -> None:
    assert set(_TEXTS) <= set(KINDS)
    assert error_of("no-such-code")["code"] == "internal"
