"""Runs of a network whose normalisations were folded away."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.masked import mask
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.solution import Solution
from optimizer.bridge.binding import bind
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.trainer import ArrayData, Arrays, Hooks, Stopped, TrainEvent, TrainResult, train
from optimizer.trainer.state import weights_of
from tests.unit.optimizer.bridge.folded_networks import removable
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, run_imported, run_ort
from tests.unit.optimizer.trainer.networks import config

NUM_LAYERS = 5


def images(count: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    x = rng.standard_normal((count, 3, 8, 8)).astype(np.float32)
    x[np.arange(count), labels % 3] += 1 + labels[:, None, None] // 3
    return Arrays(inputs={"x": x}, labels=labels)


def run(
    *, hooks: Hooks | None = None, checkpoints: Path | None = None, **settings: object
) -> tuple[Analysis, ImportedModule, TrainResult[Solution]]:
    analysis = analyze(load_model(removable().SerializeToString()))
    imported = import_model(analysis.maskable())
    result = train(
        imported,
        data=ArrayData(train=images(64, 1), validation=images(32, 2)),
        binding=bind(analysis, imported),
        config=config(lr=0.02, **settings),
        hooks=hooks,
        checkpoints=checkpoints,
    )
    return analysis, imported, result


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_was_trained_is_what_the_file_becomes(optimizer: str) -> None:
    """And removed channels are exactly 0 in it, although the file knows no normalisation."""
    events: list[TrainEvent] = []
    analysis, imported, result = run(hooks=Hooks(event=events.append), optimizer=optimizer)
    assert [event.code for event in events] == ["renormalised"]
    assert events[0].data == {"inserted": NUM_LAYERS, "left": {}}
    assert "after 5 convolutions" in events[0].message
    assert result.renormalised == len(imported.insertions) == NUM_LAYERS
    assert result.solution.removed
    weights = imported.weights()
    for key, units in result.solution.removed.items():
        for slices in analysis.space.group_by_id[key].zero:
            for unit in units:
                assert (
                    not weights[slices.initializer]
                    .take(slices.unit_indices[unit], slices.axis)
                    .any()
                )
    feeds = {"x": floats(5, 3, 8, 8)}
    masked = mask(analysis, result.solution, weights)
    assert_same(run_imported(imported, feeds), run_ort(masked, feeds))


@pytest.mark.parametrize("stop", [0, 3, 7, 12, 20])
def test_resuming_equals_never_having_stopped(tmp_path: Path, stop: int) -> None:
    _, whole, expected = run()
    asked = iter(range(1000))
    with pytest.raises(Stopped):
        run(hooks=Hooks(should_stop=lambda: next(asked) == stop), checkpoints=tmp_path)
    torch.manual_seed(99)
    _, resumed, result = run(checkpoints=tmp_path)
    assert replace(result, seconds=0.0) == replace(expected, seconds=0.0)
    left, right = weights_of(whole.module), weights_of(resumed.module)
    assert sum(name.endswith(".gamma") for name in left) == NUM_LAYERS
    assert list(left) == list(right)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_what_was_inserted_is_said_once(tmp_path: Path) -> None:
    asked, events = iter(range(1000)), list[TrainEvent]()
    hooks = Hooks(should_stop=lambda: next(asked) == 7, event=events.append)
    with pytest.raises(Stopped):
        run(hooks=hooks, checkpoints=tmp_path)
    run(hooks=Hooks(event=events.append), checkpoints=tmp_path)
    assert [event.code for event in events] == ["renormalised", "training-resumed"]


@pytest.mark.parametrize("settings", [{"renormalise": "off"}, {"batch_size": 4, "epochs": 2}])
def test_off_and_small_batches_train_the_file_as_it_is(settings: dict[str, object]) -> None:
    events: list[TrainEvent] = []
    _, imported, result = run(hooks=Hooks(event=events.append), **settings)
    assert (events, result.renormalised, imported.insertions) == ([], 0, ())


def test_on_asks_for_it_with_small_batches_too() -> None:
    assert run(renormalise="on", batch_size=4, epochs=2)[2].renormalised == NUM_LAYERS


def test_a_checkpoint_of_another_parametrisation_is_not_used(tmp_path: Path) -> None:
    asked, events = iter(range(1000)), list[TrainEvent]()
    with pytest.raises(Stopped):
        run(hooks=Hooks(should_stop=lambda: next(asked) == 7), checkpoints=tmp_path)
    hooks = Hooks(event=events.append)
    run(hooks=hooks, checkpoints=tmp_path, renormalise="off")
    assert {event.code for event in events} == {"checkpoint-incompatible"}
