"""The moving average of the weights: its numbers, what is copied, and what stays 0."""

import math

import pytest
import torch
from torch import nn

from optimizer.trainer import ArrayData, train
from optimizer.trainer.averaging import MovingAverage
from optimizer.trainer.descent import Descent
from optimizer.trainer.preparing import prepare
from tests.unit.optimizer.trainer.networks import (
    BRANCH,
    FakeBinding,
    config,
    data,
    imported,
    samples,
)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))
        self.register_buffer("count", torch.tensor(3))


def test_the_average_starts_with_the_weights_and_follows_them() -> None:
    module, average = Small(), MovingAverage(0.99)
    average.follow(module)
    assert average.steps == 0
    expected = 1.0
    for step in range(1, 6):
        with torch.no_grad():
            module.weight[0] = step + 1.0
            module.get_buffer("count").add_(1)
        average.follow(module)
        decay = min(0.99, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1.0)
    assert float(average.tensors["weight"][0]) == pytest.approx(expected)
    assert float(average.tensors["weight"][1]) == 0.0
    assert average.tensors["mask"].tolist() == [0.0, -math.inf]
    assert int(average.tensors["count"]) == 8
    assert average.steps == 5


def test_a_short_memory_is_kept_to() -> None:
    module, average = Small(), MovingAverage(0.1)
    average.follow(module)
    with torch.no_grad():
        module.weight[0] = 2.0
    average.follow(module)
    assert float(average.tensors["weight"][0]) == pytest.approx(1.9)


def test_the_module_gets_its_own_weights_back_and_removed_units_are_zero_meanwhile() -> None:
    one = imported()
    setting = prepare(one, data(), FakeBinding(one), config())
    descent, average = Descent(setting), MovingAverage(0.9)
    average.follow(one.module)  # far too early: units go to 0 later
    for step in range(16):
        descent.make(step, parts=1)
        average.follow(one.module)
    own = {name: tensor.clone() for name, tensor in one.tensors.items()}
    gone = setting.optimizer.zero.nonzero().flatten().tolist()
    assert gone
    with average.in_place_of(one.module, setting.optimizer):
        assert not torch.equal(one.tensors["out.weight"], own["out.weight"])
        for unit in set(gone) - {BRANCH}:
            assert not one.tensors["first.weight"][unit].any()
            assert not one.tensors["out.weight"][:, unit].any()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, own[name])


def test_the_average_is_judged_and_can_win() -> None:
    one = imported()
    settings = {"ema_decay": 0.9, "lr": 0.5, "lr_schedule": "constant", "clip_norm": None}
    result = train(one, data=data(), binding=FakeBinding(one), config=config(**settings))
    averaged = [entry["averaged_loss"] for entry in result.history if "averaged_loss" in entry]
    assert len(averaged) == 3  # of four evaluations; the average begins at the first
    own = [entry["loss"] for entry in result.history[1:]]
    assert result.best_loss == min(*averaged, *own)
    assert min(averaged) < min(own)  # a rate that never falls: the weights jump about
    for unit in result.solution - {BRANCH}:
        assert not one.tensors["first.weight"][unit].any()
        assert not one.tensors["norm.weight"][unit].any()


def test_without_validation_samples_the_average_is_the_result() -> None:
    arrays = ArrayData(train=samples(64, seed=1))
    found = []
    for decay in (None, 0.9):
        one = imported()
        settings = config(ema_decay=decay, validation_ratio=0.0)
        result = train(one, data=arrays, binding=FakeBinding(one), config=settings)
        assert (result.best_step, result.best_loss) == (24, None)
        assert all("averaged_loss" not in entry for entry in result.history)
        found.append(one.tensors["out.weight"].detach().clone())
    assert not torch.equal(*found)
