"""The report: complete, JSON, and readable."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from exporters.figures import Proof
from exporters.measure import Latency
from exporters.report import ModelFigures, build_report, file_sha256, to_text
from graph_analysis.errors import SolutionError
from graph_analysis.search_space import Frozen, Group, GroupKind, ModelSummary, SearchSpace
from graph_analysis.solution import Solution


def group(name: str, units: int, *, parent: str | None = None, **more: Any) -> Group:
    kind = GroupKind(name.split(":")[0])
    return Group(id=name, kind=kind, units=units, zero=(), cut=(), parent=parent, **more)


SPACE = SearchSpace(
    model=ModelSummary(sha256="0" * 64, opset=17, producer="p", parameters=100, macs=1000),
    segments=(),
    groups=(
        group("channel:trunk", 8),
        group("channel:free", 4),
        group("operator:branch", 1, nodes=("conv1", "bn1"), parameters=40),
        group("channel:inner", 6, parent="operator:branch"),
    ),
    frozen=(
        Frozen(initializer="head.weight", reason="output of the model"),
        Frozen(tensor="x", reason="input of the model"),
        Frozen(tensor="z", reason="input of the model"),
    ),
)
SOLUTION = Solution.of(SPACE, {"channel:trunk": [1, 2], "operator:branch": [0]})


def latency(milliseconds: float) -> Latency:
    return Latency(p50_ms=milliseconds, p95_ms=2 * milliseconds, runs=5, batch=1, threads=1)


def figures(scale: int, **more: Any) -> ModelFigures:
    return ModelFigures(
        parameters=100 * scale, macs=1000 * scale, bytes=400 * scale, sha256=str(scale) * 64, **more
    )


def make(**more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "space": SPACE,
        "solution": SOLUTION,
        "before": figures(4, accuracy=0.9, latency=[latency(2.0)]),
        "after": figures(1, accuracy=0.89, latency=[latency(1.0)]),
        "proof": Proof(passed=True, samples=8, real_samples=2, notes=("look here",)),
        "configuration": {"target_macs": 0.4},
        "seed": 3,
        "versions": {"torch": "2.13.0"},
        "history": [{"step": 1, "loss": 0.5}],
    }
    return build_report(**settings | more)


def test_it_is_json_and_says_its_schema() -> None:
    report = json.loads(json.dumps(make(), allow_nan=False))
    assert report["schema"] == "secateur/report/2"
    assert report == make()


def test_ratios_are_what_is_left() -> None:
    assert make()["ratios"] == {"parameters": 0.25, "macs": 0.25, "bytes": 0.25, "latency": 0.5}


def test_a_ratio_to_nothing_is_no_number() -> None:
    empty = ModelFigures(parameters=0, macs=0, bytes=1, sha256="")
    assert make(before=empty, after=empty)["ratios"] == {
        "parameters": None,
        "macs": None,
        "bytes": 1.0,
    }


def test_every_group_has_its_width_before_and_after() -> None:
    widths = {g["id"]: (g["before"], g["after"], g["erased_with"]) for g in make()["groups"]}
    assert widths == {
        "channel:trunk": (8, 6, None),
        "channel:free": (4, 4, None),
        "operator:branch": (1, 0, None),
        "channel:inner": (6, 0, "operator:branch"),
    }


def test_what_is_gone_and_what_stays_is_named() -> None:
    report = make()
    assert report["removed"] == {"operator": 1, "channel": 2, "head": 0}
    assert report["erased"] == [
        {"id": "operator:branch", "nodes": ["conv1", "bn1"], "parameters": 40}
    ]
    assert report["frozen"][0] == {"name": "head.weight", "reason": "output of the model"}


def test_how_to_do_it_again_is_in_it() -> None:
    report = make()
    assert report["configuration"] == {"target_macs": 0.4}
    assert report["seed"] == 3
    assert {"python", "onnx", "onnxruntime", "torch"} <= set(report["versions"])
    assert report["training"] == [{"step": 1, "loss": 0.5}]
    assert report["model"]["after"]["sha256"] == "1" * 64


def test_people_read_the_headline() -> None:
    text = to_text(make())
    assert "MACs" in text
    assert "4,000" in text
    assert "0.250" in text
    assert "0.8900" in text
    assert "removed: 1 operator, 2 channel (1 of 4 groups narrower)" in text
    assert "erased: operator:branch (2 nodes)" in text
    assert "stays: input of the model (2)" in text
    assert "proof: passed, 8 samples (2 real)" in text
    assert "note: look here" in text


def test_people_read_what_was_done_for_the_time_of_training() -> None:
    assert "normalisations" not in to_text(make(training={"renormalised": 0}))
    assert "trained with 7 normalisations" in to_text(make(training={"renormalised": 7}))


def test_an_early_end_and_want_of_memory_are_noted() -> None:
    text = to_text(make(training={"ended": "good-enough", "halvings": 2}))
    assert "training ended early: good enough" in text
    assert "in parts of 1/4 of the size" in text
    plain = to_text(make(training={"ended": "schedule", "halvings": 0}))
    assert "ended" not in plain
    assert "parts of" not in plain


def test_people_read_it_without_accuracy_and_latency_too() -> None:
    text = to_text(make(before=figures(4), after=figures(1)))
    assert "not measured" in text
    assert "latency" not in text


def test_people_read_the_peak_of_memory_if_it_was_measured() -> None:
    measured = make(before=figures(4, peak_memory=2048), after=figures(1, peak_memory=512))
    assert measured["ratios"]["peak_memory"] == 0.25
    assert "peak memory in bytes (batch 1)" in to_text(measured)
    assert "peak memory" not in to_text(make())


def test_a_foreign_solution_is_refused() -> None:
    with pytest.raises(SolutionError):
        make(solution=Solution(space="f" * 64, removed={}))


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"abc")
    assert file_sha256(path) == hashlib.sha256(b"abc").hexdigest()
