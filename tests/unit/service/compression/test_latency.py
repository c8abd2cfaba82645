"""Budgets of latency through all stages, on a machine whose time is what there is to multiply."""

import json
from pathlib import Path

import onnx
import pytest

from exporters.measured_share import ShareMeter
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.timing import MeasuredShare
from service.compression.timing import KnownShares
from service.recipe import Recipe
from tests.unit.service.compression.runs import digits_run, only, run_all

FIXED = 0.2  # of the original's time, whatever is cut


def latency_recipe(target: float = 0.5) -> Recipe:
    return Recipe.parse({"target_latency": target, "epochs": 2, "batch_size": 32, "multiple": 1})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The shares that were measured; each is that of the MACs, and something that never goes."""
    found: list[float] = []
    whole: list[int] = []

    def of(self: ShareMeter, model: onnx.ModelProto) -> MeasuredShare:
        macs = analyze(load_model(model.SerializeToString())).space.model.macs
        share = FIXED + (1 - FIXED) * macs / whole[0]
        found.append(share)
        return MeasuredShare(median=share, low=share - 0.001, high=share + 0.001, rounds=16)

    def init(self: ShareMeter, original: onnx.ModelProto, **settings: object) -> None:
        whole[:] = [analyze(load_model(original.SerializeToString())).space.model.macs]
        self.batch, self.threads = 1, 1

    monkeypatch.setattr(ShareMeter, "__init__", init)
    monkeypatch.setattr(ShareMeter, "of", of)
    return found


def test_a_budget_of_latency_is_met_by_the_written_file(
    tmp_path: Path, measured: list[float]
) -> None:
    run = digits_run(tmp_path)
    lines = run_all(run, latency_recipe())
    report = json.loads(run.report.read_text())
    reached = report["training_summary"]["latency_share"]
    assert 0.49 <= reached["median"] <= 0.5
    assert (reached["target"], reached["threads"], reached["batch"]) == (0.5, 1, 1)
    assert reached["low"] < reached["median"] < reached["high"]
    assert {"latency-measured", "latency-reached"} <= set(lines.codes)
    assert "target-overshot" not in lines.codes


def test_what_cannot_be_reached_is_refused_before_training(
    tmp_path: Path, measured: list[float]
) -> None:
    run = digits_run(tmp_path)
    with pytest.raises(TargetUnreachableError, match="measured latency") as caught:
        run_all(run, latency_recipe(0.15))
    assert not run.weights.exists()
    bound = caught.value.reachable_ratio
    assert FIXED < bound < 0.3
    run_all(run, latency_recipe(round(bound + 0.001, 3)), until="prepare")


def test_a_stage_that_runs_again_measures_nothing_and_decides_the_same(
    tmp_path: Path, measured: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = digits_run(tmp_path)
    run_all(run, latency_recipe(), until="train")
    first, count = run.solution.read_text(), len(measured)
    for path in (run.solution, run.weights, run.training):
        path.unlink()
    for path in run.checkpoints.iterdir():
        path.unlink()
    monkeypatch.setattr(ShareMeter, "of", refuse)
    only("train", run, latency_recipe())
    assert run.solution.read_text() == first
    assert len(measured) == count


def refuse(meter: ShareMeter, model: onnx.ModelProto) -> MeasuredShare:
    message = "measured again"
    raise AssertionError(message)


def test_known_shares_survive_what_interrupts_them(tmp_path: Path) -> None:
    path = tmp_path / "shares.json"
    share = MeasuredShare(median=0.5, low=0.4, high=0.6, rounds=20)
    shares = KnownShares(path)
    shares["a"] = share
    path.with_suffix(".new").write_text("{")  # a write that was cut off
    again = KnownShares(path)
    assert dict(again) == {"a": share}
    again["b"] = share
    del again["a"]
    assert dict(KnownShares(path)) == {"b": share}
