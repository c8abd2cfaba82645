import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optimizer.trainer import teacher as teaching
from optimizer.trainer.data import Arrays, Batches
from optimizer.trainer.teacher import Teacher
from tests.unit.optimizer.trainer.networks import imported, samples


def test_the_teacher_stays_as_it_was() -> None:
    one = imported()
    teacher = Teacher(one.module.train())
    assert one.module.training
    batch = Batches(samples(8, seed=0), ["points"], 8).at(torch.arange(8))
    before = teacher.outputs(batch)[0]
    with torch.no_grad():
        one.tensors["out.weight"].zero_()
    assert torch.equal(teacher.outputs(batch)[0], before)
    assert not before.requires_grad


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_remembered_outputs_are_those_of_the_samples(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "CACHE_BYTES", limit)
    batches = Batches(samples(10, seed=0), ["points"], 4)
    teacher = Teacher(imported().module)
    teacher.remember(batches, torch.device("cpu"))
    assert (teacher._cached is not None) == bool(limit)
    chosen = torch.tensor([7, 1])
    batch = batches.at(chosen)
    assert torch.allclose(teacher.outputs_at(chosen, batch)[0], teacher.outputs(batch)[0])


def test_an_output_that_does_not_count_samples_is_not_remembered() -> None:
    """Which part of it belongs to a sample is unknown, so it is computed batch by batch."""

    class WithScalar(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x * 2, x.mean()

    arrays = Arrays(inputs={"": np.arange(12, dtype=np.float32).reshape(6, 2)})
    batches = Batches(arrays, ("x",), 4)
    teacher, calls = Teacher(WithScalar()), []
    teacher.remember(batches, torch.device("cpu"), alive=lambda: calls.append(1))
    assert calls
    chosen = torch.tensor([5, 0])
    doubled, mean = teacher.outputs_at(chosen, batches.at(chosen))
    assert doubled.tolist() == [[20.0, 22.0], [0.0, 2.0]]
    assert float(mean) == 5.5


@pytest.mark.parametrize(("limit", "calls_for_two_passes"), [(0, 4), (1 << 20, 2)])
def test_batches_that_come_again_are_computed_once_if_they_fit(
    limit: int, calls_for_two_passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "CACHE_BYTES", limit)
    teacher, calls = Teacher(imported().module), []
    compute = teacher.outputs
    monkeypatch.setattr(teacher, "outputs", lambda batch: (calls.append(1), compute(batch))[1])
    batches = Batches(samples(8, seed=0), ["points"], 4)
    for indices in [*batches.in_order(full_only=True)] * 2:
        batch = batches.at(indices)
        assert torch.equal(teacher.outputs_again(batches, indices, batch)[0], compute(batch)[0])
    assert len(calls) == calls_for_two_passes


def test_batches_of_other_samples_are_not_taken_for_each_other() -> None:
    teacher = Teacher(imported().module)
    first, second = (Batches(samples(4, seed=seed), ["points"], 4) for seed in (0, 1))
    found = []
    for batches in (first, second):
        indices = torch.arange(4)
        found += teacher.outputs_again(batches, indices, batches.at(indices))
    assert not torch.equal(*found)
    teacher.retire()
    assert teacher.outputs_again(first, torch.arange(4), first.at(torch.arange(4))) == ()
