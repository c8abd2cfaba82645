"""Settings that know nothing of each other, drawn at random and used together.

Whatever is drawn: the run arrives, every removed unit is exactly 0, the file that is cut equals the
masked one, and a run that was stopped goes on as if it had not been.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from optimizer.trainer import Hooks, Stopped
from optimizer.trainer.setting import Setting
from tests.unit.optimizer.trainer import test_cutting
from tests.unit.optimizer.trainer.test_cutting import NETWORKS, Run
from tests.unit.optimizer.trainer.test_cutting_together import labelled

NAMES = ("residual_normalised", "folded", "dropping", "layernorm_mlp", "dense_block")
ALSO: dict[str, tuple[Any, ...]] = {
    "ema_decay": (0.5, 0.99),
    "patience": (1, 2),
    "accumulate": (2, 3),
    "checkpointing": (2, 4),
    "layout": ("channels-last", "plain"),
    "precision": ("bfloat16", "float16"),
    "comparison": ("loss", "relative"),
    "measure_every": (2, 7),
    "optimizer": ("adam", "adamw"),
    "renormalise": ("on", "off"),
    "saliency": ("taylor", "0.7*magnitude+0.3*taylor"),
    "operator_saliency": ("criterion",),
    "lr_schedule": ("one-cycle", "step"),
    "target_ratio": (0.3, 0.7),
    "mixup": (0.4,),
    "checkpoint_steps": (1, 5),
}
OFTEN = 0.4
SEEDS = range(4)


def drawn(seed: int) -> tuple[str, dict[str, Any], random.Random]:
    """A network and settings for it."""
    rng = random.Random(seed)
    settings = {key: rng.choice(values) for key, values in ALSO.items() if rng.random() < OFTEN}
    settings["lr"] = 0.001 if "optimizer" in settings else 0.01
    if rng.random() < OFTEN:
        settings |= {"start": "scratch", "loss": "cross-entropy"}
    return rng.choice(NAMES), settings, rng


@pytest.fixture(autouse=True)
def _labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_cutting, "samples", labelled)


def check(run: Run, name: str) -> None:
    """What holds of every run that has ended."""
    solution = run.result.solution
    assert solution.removed
    for key, units in solution.removed.items():
        for slices in run.analysis.space.group_by_id[key].zero:
            for unit in units:
                array = run.weights[slices.initializer]
                assert not array.take(slices.unit_indices[unit], slices.axis).any()
    in_file = {tensor.name for tensor in run.analysis.loaded.flat.graph.initializer}
    weights = {key: array for key, array in run.weights.items() if key in in_file}
    prove(
        mask(run.analysis, solution, weights),
        shrink(run.analysis, solution, weights),
        original=NETWORKS[name](),
        keep=run.analysis.effects(solution).keep,
    )
    assert "cutting-skipped" not in run.codes
    assert run.result.history[-1]["step"] == run.result.steps


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_arrives_and_goes_on_bitwise(seed: int, tmp_path: Path) -> None:
    name, settings, rng = drawn(seed)
    expected = Run(name, **settings)
    check(expected, name)
    stop, asked = rng.randrange(1, expected.result.steps), iter(range(1000))
    with pytest.raises(Stopped):
        hooks = Hooks(should_stop=lambda: next(asked) == stop)
        Run(name, hooks=hooks, checkpoints=tmp_path, **settings)
    torch.manual_seed(99)
    told = f"{name} stopped at {stop}: {json.dumps(settings)}"
    assert Run(name, checkpoints=tmp_path, **settings).is_bitwise(expected), told


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("what", ["nan", "memory"])
def test_a_run_arrives_after_an_incident(
    what: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings, rng = drawn(seed)
    at, failing, losses_at = rng.randrange(1, 16), iter([True]), Setting.losses_at

    def disturbed(self: Setting, step: int, *, parts: int) -> Iterator[torch.Tensor]:
        for loss in losses_at(self, step, parts=parts):
            is_now = step == at and next(failing, False)
            if is_now and what == "memory":
                raise torch.OutOfMemoryError
            yield loss * float("nan") if is_now else loss

    monkeypatch.setattr(Setting, "losses_at", disturbed)
    run = Run(name, **settings)
    check(run, name)
    assert (run.result.restarts, run.result.halvings) == ((1, 0) if what == "nan" else (0, 1))
