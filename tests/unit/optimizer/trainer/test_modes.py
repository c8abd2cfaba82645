"""Runs of an image network in every mode: arrival, resume bit for bit, divergence, time budget."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from optimizer.config import TrainConfig
from optimizer.trainer import (
    Hooks,
    Progress,
    Stopped,
    TrainEvent,
    TrainingDivergedError,
    TrainResult,
    train,
)
from optimizer.trainer.averaging import MovingAverage
from optimizer.trainer.precision import Precision
from tests.unit.optimizer.trainer.images import bound, data, network

MODES: dict[str, dict[str, object]] = {
    "plain": {"layout": "plain"},
    "channels-last": {"layout": "channels-last"},
    "recomputed": {"checkpointing": 2},
    "parts": {"accumulate": 3},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "averaged": {"ema_decay": 0.8, "lr_schedule": "one-cycle"},
    "all": {
        "precision": "float16",
        "accumulate": 2,
        "ema_decay": 0.8,
        "layout": "channels-last",
        "checkpointing": 2,
        "renormalise": "on",
        "lr_schedule": "step",
        "optimizer": "adamw",
    },
}
STEPS = 24


def run(
    folder: Path,
    *,
    hooks: Hooks | None = None,
    checkpoints: Path | None = None,
    **settings: object,
) -> tuple[dict[str, Tensor], TrainResult]:
    _, imported, binding = bound(network(), folder)
    plan = {
        "target_ratio": 0.5,
        "epochs": 6,
        "batch_size": 32,
        "warm_up_ratio": 1 / 6,
        "search_ratio": 10 / 24,
        "periods": 2,
        "checkpoint_steps": 4,
        "checkpoint_seconds": 1e6,
        "device": "cpu",
        "lr": 0.01,
    }
    config = TrainConfig(**{**plan, **settings})  # type: ignore[arg-type]
    result = train(
        imported, data=data(), binding=binding, config=config, hooks=hooks, checkpoints=checkpoints
    )
    weights = {name: torch.from_numpy(array) for name, array in imported.weights().items()}
    return weights, result


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def stopping_before(step: int) -> Hooks:
    asked = iter(range(10_000))
    return Hooks(should_stop=lambda: next(asked) == step)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_arrives_and_resumes_bit_for_bit(tmp_path: Path, mode: str) -> None:
    settings = MODES[mode]
    whole, expected = run(tmp_path, **settings)
    assert expected.steps == STEPS
    removed = expected.solution.removed
    assert removed
    for stop in (2, 7, 12, 19):  # one in each phase
        folder = tmp_path / str(stop)
        with pytest.raises(Stopped):
            run(tmp_path, hooks=stopping_before(stop), checkpoints=folder, **settings)
        torch.manual_seed(99)
        resumed, result = run(tmp_path, checkpoints=folder, **settings)
        assert same(whole, resumed)
        assert replace(result, seconds=0.0) == replace(expected, seconds=0.0)


@pytest.mark.parametrize("lost", ["scale", "average"])
def test_a_resume_that_forgets_something_is_noticed(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = MODES["averaged"] if lost == "average" else MODES["float16"]
    folder = tmp_path / "checkpoints"
    _, expected = run(tmp_path, **settings)
    with pytest.raises(Stopped):
        run(tmp_path, hooks=stopping_before(17), checkpoints=folder, **settings)
    seen: list[float] = []
    if lost == "average":
        monkeypatch.setattr(MovingAverage, "restore", lambda *_: None)
        _, result = run(tmp_path, checkpoints=folder, **settings)
        assert result.history != expected.history
        return
    real = Precision.restore

    def forget(self: Precision, state: dict[str, object]) -> None:
        real(self, {**state, "scale": 3.0})
        seen.append(float(self.state()["scale"]))

    monkeypatch.setattr(Precision, "restore", forget)
    _, result = run(tmp_path, checkpoints=folder, **settings)
    assert seen == [3.0]
    assert result.history != expected.history


@pytest.mark.parametrize("mode", ["bfloat16", "float16", "parts", "all"])
def test_divergence_ends_every_mode_after_two_restarts(tmp_path: Path, mode: str) -> None:
    events: list[TrainEvent] = []
    hooks = Hooks(event=events.append)
    settings = {**MODES[mode], "lr": 1e8, "clip_norm": None}
    with pytest.raises(TrainingDivergedError) as caught:
        run(tmp_path, hooks=hooks, **settings)
    assert not math.isfinite(caught.value.loss)
    codes = [event.code for event in events if event.code != "renormalised"]
    assert codes == ["training-restarted"] * 2
    assert ("bfloat16" in str(caught.value)) == (settings.get("precision") == "float16")


@pytest.mark.parametrize("mode", ["all", "averaged"])
def test_a_time_budget_is_kept_in_every_mode(tmp_path: Path, mode: str) -> None:
    now = [0.0]

    def tell(_: Progress) -> None:
        now[0] += 1.0

    events: list[TrainEvent] = []
    hooks = Hooks(event=events.append, progress=tell, clock=lambda: now[0])
    _, result = run(tmp_path, hooks=hooks, time_budget=18.0, **MODES[mode])
    assert "schedule-compressed" in [event.code for event in events]
    assert result.steps < STEPS
    assert result.seconds <= 18.0
    assert result.solution.removed


def test_layout_and_recomputation_change_nothing_but_rounding(tmp_path: Path) -> None:
    plain, result = run(tmp_path, layout="plain")
    assert result.renormalised  # running statistics move once, although they are read twice
    again, _ = run(tmp_path, layout="plain", checkpointing=2)
    assert same(plain, again)
    inner, _ = run(tmp_path, layout="channels-last")
    for name, tensor in plain.items():
        torch.testing.assert_close(tensor, inner[name], rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", [*MODES, "auto"])
def test_every_mode_arrives_on_a_gpu(tmp_path: Path, mode: str) -> None:
    settings = MODES.get(mode, {"precision": "auto"})
    _, result = run(tmp_path, device="cuda", **settings)
    assert (result.steps, result.device, result.restarts) == (STEPS, "cuda", 0)
    assert result.solution.removed
