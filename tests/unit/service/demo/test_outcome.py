"""Figures, targets and table of the demo."""

import io
from dataclasses import replace

import onnx
import pytest
from rich.console import Console

from service.demo import MODEL_PATH
from service.demo.digits import digits
from service.demo.outcome import Figures, Outcome, assess, table

BEFORE = Figures(accuracy=0.99, macs=1000, parameters=500, bytes=4000)
GOOD = Outcome(
    before=BEFORE,
    after=Figures(accuracy=0.985, macs=390, parameters=200, bytes=1800),
    removed={"operator": 2, "channel": 40, "head": 0},
    proof_difference=3e-7,
    proof_passed=True,
    latency_ms={1: (0.2, 0.1), 32: (4.0, 1.5)},
)


def test_nothing_is_missed_by_a_good_outcome() -> None:
    assert GOOD.missed_targets() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"after": replace(GOOD.after, macs=401)}, "40.1% of the MACs are left"),
        ({"after": replace(GOOD.after, accuracy=0.975)}, "test accuracy fell by 1.50%"),
        ({"removed": {"operator": 2, "channel": 0}}, "no channel was removed"),
        ({"removed": {"operator": 0, "channel": 4}}, "no operator structure was removed"),
        ({"proof_passed": False}, "the proof did not pass"),
    ],
)
def test_each_target_can_be_missed(changes: dict[str, object], message: str) -> None:
    (missed,) = replace(GOOD, **changes).missed_targets()
    assert message in missed


def test_a_better_network_misses_nothing() -> None:
    assert replace(GOOD, after=replace(GOOD.after, accuracy=1.0)).missed_targets() == []


def test_json_holds_the_table_and_only_latency_differs_between_runs() -> None:
    slower = replace(GOOD, latency_ms={1: (0.3, 0.2), 32: (5.0, 2.0)})
    left, right = GOOD.to_dict(), slower.to_dict()
    assert left.pop("latency_ms") != right.pop("latency_ms")
    assert left == right
    assert left["macs_ratio"] == 0.39
    assert left["removed"] == {"operator": 2, "channel": 40, "head": 0}


def test_table_shows_every_figure() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(GOOD))
    text = console.export_text()
    for shown in ("99.00%", "98.50%", "1,000", "390", "39.0%", "1,800", "0.200", "37.5%", "3e-07"):
        assert shown in text
    assert "passed" in text


def test_figures_come_from_the_files() -> None:
    arrays = {name: values[:64] for name, values in digits().items()}
    report = {"removed": {"channel": 1}, "proof": {"passed": True, "max_difference": 0.0}}
    outcome = assess(MODEL_PATH, MODEL_PATH, report, arrays)
    assert outcome.before == outcome.after
    assert outcome.before.bytes == MODEL_PATH.stat().st_size
    weights = onnx.load(MODEL_PATH).graph.initializer
    assert 0 < outcome.before.parameters <= sum(len(entry.raw_data) // 4 for entry in weights)
    assert outcome.before.macs > 5_000_000  # counted by hand: six million per image
    assert set(outcome.latency_ms) == {1, 32}
    assert all(time > 0 for pair in outcome.latency_ms.values() for time in pair)
