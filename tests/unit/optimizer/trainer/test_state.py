import random

import numpy as np
import torch
from torch import nn

from optimizer.bridge.ops.dropout import Dropout
from optimizer.h2spg import H2SPG, Schedule
from optimizer.trainer import state as run_state
from optimizer.trainer.state import capture, restore
from tests.unit.optimizer.trainer.networks import FakeBinding, imported


def an_optimizer(one, **settings) -> H2SPG:
    binding = FakeBinding(one)
    return H2SPG(
        one.module.parameters(),
        binding.layout(),
        schedule=Schedule((1, 4), 6),
        choose=binding.chooser(0.5, "macs"),
        **settings,
    )


def test_everything_comes_back_also_the_generators() -> None:
    one = imported()
    optimizer = an_optimizer(one, variant="adam", betas=(0.8, 0.9))
    for _ in range(3):
        one.module(torch.randn(4, 2)).square().sum().backward()
        optimizer.step()
    best = {"a": torch.ones(2)}
    snapshot = capture(one.module, optimizer, best=best, progress={"note": [1, None]})
    drawn = torch.rand(2), np.random.rand(2), random.random()  # noqa: NPY002
    np.random.standard_normal()  # noqa: NPY002

    other = imported(seed=5)
    again = an_optimizer(other, variant="adam")
    best_again, progress = restore(snapshot, other.module, again)
    assert (torch.rand(2) == drawn[0]).all()
    assert (np.random.rand(2) == drawn[1]).all()  # noqa: NPY002
    assert random.random() == drawn[2]
    assert best_again is not None
    assert best_again["a"].tolist() == [1, 1]
    assert progress == {"note": [1, None]}
    assert again.steps_done == snapshot.step == 3
    assert again.param_groups[0]["betas"] == (0.8, 0.9)
    for name, tensor in one.tensors.items():
        assert torch.equal(other.tensors[name], tensor)


def test_a_snapshot_does_not_change_with_the_run() -> None:
    one = imported()
    optimizer = an_optimizer(one)
    snapshot = capture(one.module, optimizer, best=None, progress={})
    kept = snapshot.tensors["module/out.weight"].clone()
    with torch.no_grad():
        one.tensors["out.weight"].zero_()
    assert torch.equal(snapshot.tensors["module/out.weight"], kept)
    assert restore(snapshot, one.module, optimizer)[0] is None
    assert torch.equal(one.tensors["out.weight"], kept)


def test_the_sequence_of_a_seeded_operator_goes_on() -> None:
    one, other = imported(), imported()
    for each in (one, other):
        each.module.add_module("noise", Dropout(3.0, with_mask=False))
    noise, again = one.module.noise, other.module.noise
    x = torch.ones(64)
    noise(x, 0.5)
    snapshot = capture(one.module, an_optimizer(one), best=None, progress={})
    expected = noise(x, 0.5)
    again(x, 0.5)
    again(x, 0.5)
    restore(snapshot, other.module, an_optimizer(other))
    unused = capture(other.module, an_optimizer(other), best=None, progress={})
    assert torch.equal(again(x, 0.5), expected)
    assert not torch.equal(again(x, 0.5), expected)
    restore(unused, other.module, an_optimizer(other))  # taken down before the first draw
    assert torch.equal(again(x, 0.5), expected)


def test_the_state_of_a_parameter_comes_back_in_its_layout() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    kept = torch.arange(48.0).reshape(4, 3, 2, 2)
    found = run_state._laid_out_as(weight, kept)
    assert torch.equal(found, kept)
    assert found.stride() == weight.stride()
    assert torch.equal(run_state._laid_out_as(weight, torch.ones(())), torch.ones(()))
