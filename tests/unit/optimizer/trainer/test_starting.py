"""Training from scratch: new weights, labels alone, and nothing to be compared with."""

from pathlib import Path

import pytest
import torch

from optimizer.bridge.module import ImportedModule
from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.trainer import ArrayData, Arrays, Hooks, Stopped, TrainEvent, TrainResult, train
from optimizer.trainer.preparing import prepare
from tests.unit.optimizer.trainer.images import bound, data, network, pictures
from tests.unit.optimizer.trainer.networks import imported as without_rules

SETTINGS = {
    "target_ratio": 0.5,
    "epochs": 15,
    "batch_size": 16,
    "device": "cpu",
    "start": "scratch",
    "lr": 0.05,
}


def run(
    folder: Path,
    *,
    model_seed: int = 0,
    arrays: ArrayData | None = None,
    hooks: Hooks | None = None,
    checkpoints: Path | None = None,
    **settings: object,
) -> tuple[ImportedModule, TrainResult]:
    _, imported, binding = bound(network(model_seed), folder)
    config = TrainConfig(**{**SETTINGS, **settings})  # type: ignore[arg-type]
    result = train(
        imported,
        data=arrays or data(),
        binding=binding,
        config=config,
        hooks=hooks,
        checkpoints=checkpoints,
    )
    return imported, result


def test_a_network_learns_from_scratch_and_arrives_at_its_budget(tmp_path: Path) -> None:
    events: list[TrainEvent] = []
    imported, result = run(tmp_path, hooks=Hooks(event=events.append))
    assert result.best_accuracy is not None
    assert result.best_accuracy > 0.9
    assert result.original_accuracy is None
    assert result.history[-1]["remaining"] <= 0.5
    assert [event.code for event in events] == ["from-scratch", "renormalised"]
    assert events[0].data == {"drawn": 6, "kept": []}
    assert imported.insertions


@pytest.mark.parametrize("renormalise", ["auto", "off"])
def test_what_the_file_held_does_not_matter(tmp_path: Path, renormalise: str) -> None:
    """But for what the search was told before: the weights are those of the seed."""
    found = []
    for model_seed in (0, 1):
        _, imported, binding = bound(network(model_seed), tmp_path)
        config = TrainConfig(**{**SETTINGS, "renormalise": renormalise})  # type: ignore[arg-type]
        prepare(imported, data(), binding, config)
        found.append({name: tensor.clone() for name, tensor in imported.tensors.items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not found[0]["one.bias"].any()


def test_inserted_normalisations_begin_plain(tmp_path: Path) -> None:
    _, imported, binding = bound(network(), tmp_path)
    prepare(imported, data(), binding, TrainConfig(**SETTINGS))  # type: ignore[arg-type]
    norms = [imported.module.get_submodule(one.path) for one in imported.insertions]
    assert len(norms) == 2
    assert all((norm.gamma == 1).all() for norm in norms)


def test_resuming_equals_never_having_stopped(tmp_path: Path) -> None:
    whole, expected = run(tmp_path)
    asked = iter(range(10_000))
    with pytest.raises(Stopped):
        hooks = Hooks(should_stop=lambda: next(asked) == 33)
        run(tmp_path, hooks=hooks, checkpoints=tmp_path / "kept")
    torch.manual_seed(99)
    resumed, result = run(tmp_path, checkpoints=tmp_path / "kept")
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, resumed.tensors[name])
    assert result.history == expected.history


def test_without_labels_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    unlabelled = ArrayData(train=Arrays(inputs=pictures(64, seed=1).inputs))
    for loss in ("auto", "mse"):
        with pytest.raises(InputError, match="learns from labels alone") as caught:
            run(tmp_path, arrays=unlabelled, loss=loss)
        assert (caught.value.code, caught.value.param) == ("dataset-labels", "start")


def test_the_original_is_not_asked(tmp_path: Path) -> None:
    _, imported, binding = bound(network(), tmp_path)
    setting = prepare(imported, data(), binding, TrainConfig(**SETTINGS))  # type: ignore[arg-type]
    batch = setting.train.at(torch.arange(4))
    assert setting.teacher.outputs(batch) == ()
    assert setting.objective.distillation_weight == 0


def test_a_network_without_rules_is_refused() -> None:
    from tests.unit.optimizer.trainer.networks import FakeBinding, config
    from tests.unit.optimizer.trainer.networks import data as points

    one = without_rules()
    with pytest.raises(InputError, match="found no weight"):
        prepare(one, points(), FakeBinding(one), config(start="scratch"))
