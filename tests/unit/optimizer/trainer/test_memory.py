"""A step that does not fit into memory: parts of half the size, three times, then an error."""

import pytest
import torch
from torch import Tensor

from optimizer.bridge.module import ImportedModule
from optimizer.errors import InputError
from optimizer.trainer import ArrayData, Hooks, OutOfMemoryError, TrainEvent, TrainResult, train
from optimizer.trainer.incidents import is_out_of_memory
from tests.unit.optimizer.trainer.networks import FakeBinding, config, data, imported, samples

CPU_TEXT = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes"


def of_little_memory(most: int, *, error: type[Exception] = RuntimeError) -> ImportedModule:
    """A network that fails to train on more than ``most`` samples at once."""
    one = imported()
    real = one.module.forward

    def forward(x: Tensor) -> Tensor:
        if one.module.training and len(x) > most and torch.is_grad_enabled():
            raise error(CPU_TEXT)
        return real(x)

    one.module.forward = forward
    return one


def run(one: ImportedModule, **settings: object) -> tuple[TrainResult, list[TrainEvent]]:
    events: list[TrainEvent] = []
    result = train(
        one,
        data=data(),
        binding=FakeBinding(one),
        config=config(operator_saliency="criterion", **settings),
        hooks=Hooks(event=events.append),
    )
    return result, events


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, MemoryError])
def test_parts_are_halved_until_they_fit(error: type[Exception]) -> None:
    result, events = run(of_little_memory(4, error=error))
    assert [event.code for event in events] == ["batch-halved"] * 2
    assert [event.data["samples"] for event in events] == [8, 4]
    assert (result.steps, result.halvings, result.restarts) == (24, 2, 0)


def test_the_result_is_that_of_asking_for_these_parts() -> None:
    one, other = of_little_memory(4), imported()
    run(one)
    run(other, accumulate=4)
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_three_halvings_are_the_most() -> None:
    with pytest.raises(OutOfMemoryError, match="even with 2 samples at once") as caught:
        run(of_little_memory(1))
    assert caught.value.code == "out-of-memory"
    with pytest.raises(OutOfMemoryError, match="even with 4 samples"):
        run(of_little_memory(3), batch_size=32)


def test_one_batch_size_cannot_be_halved() -> None:
    one = of_little_memory(8)
    one.batch_is_free = False
    with pytest.raises(OutOfMemoryError):
        run(one)
    with pytest.raises(InputError, match="accumulate must be 1"):
        run(one, accumulate=2)


def test_other_errors_are_not_taken_for_it() -> None:
    one = imported()

    def forward(x: Tensor) -> Tensor:
        if one.module.training and torch.is_grad_enabled():
            message = "shapes differ"
            raise RuntimeError(message)
        return torch.zeros(len(x), 3)

    one.module.forward = forward
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(one)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_memory_that_runs_out_later_costs_the_steps_since_the_checkpoint() -> None:
    one = imported()
    real, steps = one.module.forward, []

    def forward(x: Tensor) -> Tensor:
        if one.module.training and len(steps) == 10 and len(x) > 8:
            raise RuntimeError(CPU_TEXT)
        return real(x)

    one.module.forward = forward
    events: list[TrainEvent] = []
    hooks = Hooks(event=events.append, progress=steps.append)
    train(
        one,
        data=ArrayData(train=samples(64, seed=1), validation=samples(32, seed=2)),
        binding=FakeBinding(one),
        config=config(),
        hooks=hooks,
    )
    assert [entry.step for entry in steps][8:13] == [9, 10, 9, 10, 11]
    assert events[0].data == {"step": 10, "parts": 2, "samples": 8, "resumed_at": 8}
