"""Events of a job as lines for a person."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from optimizer.trainer.measures import ACCURACY, F1, MAE, RMSE, TOKEN_ACCURACY, Measure
from service.following import describe, follow
from service.schemas import Event


def event(seq: int, kind: str, **data: Any) -> Event:
    return Event(seq=seq, kind=kind, at=datetime(2024, 1, 1, tzinfo=UTC), data=data)


def progress(seq: int, step: int, **data: Any) -> Event:
    common = {"stage": "train", "phase": "hybrid", "step": step, "total": 20}
    return event(seq, "progress", fraction=step / 20, **common, **data)


EVENTS = [
    event(1, "status", status="running"),
    progress(2, 1, metrics={"loss": 2.0, "accuracy": 0.5, "macs_ratio": 1.0}),
    event(3, "event", message="12 groups go"),
    event(4, "checkpoint", step=1),
    *(progress(4 + step, step) for step in range(2, 21)),
    event(30, "status", status="succeeded"),
]


def followed(*, terminal: bool) -> str:
    console = Console(width=120, force_terminal=terminal, record=True, quiet=False, file=_Null())
    follow(iter(EVENTS), console)
    return console.export_text()


class _Null:
    """A file that keeps nothing; the console records by itself."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def test_line_names_phase_step_and_metrics() -> None:
    line = describe(EVENTS[1].data)
    assert line == "train: hybrid  step 1/20  loss 2.000  accuracy 0.500  MACs 100.0%"


@pytest.mark.parametrize("measure", [ACCURACY, TOKEN_ACCURACY, F1, RMSE, MAE])
def test_line_shows_the_measure_of_every_task(measure: Measure) -> None:
    line = describe({"stage": "train", "metrics": {measure.name: 0.25}})
    assert line.endswith(("0.250", "0.25"))


def test_line_says_only_what_is_known() -> None:
    assert describe({"stage": "prepare"}) == "prepare"
    assert describe({}) == ""
    assert describe({"stage": "train", "phase": None, "total": None, "metrics": None}) == "train"


def test_without_a_terminal_a_phase_has_few_lines() -> None:
    text = followed(terminal=False)
    assert text.count("step ") <= 11
    assert "step 20/20" in text
    assert "12 groups go" in text
    assert text.index("running") < text.index("step 1/20") < text.index("succeeded")


def test_on_a_terminal_remarks_stay_above_the_bar() -> None:
    text = followed(terminal=True)
    assert "12 groups go" in text
    assert "succeeded" in text


def test_events_without_a_word_for_people_are_not_shown() -> None:
    assert "checkpoint" not in followed(terminal=False)
