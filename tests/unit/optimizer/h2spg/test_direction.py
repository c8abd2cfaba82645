import pytest
import torch

from optimizer.h2spg import state_keys as keys
from optimizer.h2spg.direction import VARIANTS, update

SETTINGS = {
    "lr": 0.1,
    "weight_decay": 0.01,
    "momentum": 0.9,
    "dampening": 0.0,
    "nesterov": False,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_gradients_no_change(variant: str) -> None:
    param = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        update(variant, [], [], SETTINGS)
    assert param.tolist() == [1, 1]


def test_sgd_with_momentum_by_hand() -> None:
    param, state = torch.ones(1, requires_grad=True), {}
    param.grad = torch.tensor([2.0])
    with torch.no_grad():
        update("sgd", [param], [state], {**SETTINGS, "weight_decay": 0})
        assert param.item() == pytest.approx(1 - 0.1 * 2)
        update("sgd", [param], [state], {**SETTINGS, "weight_decay": 0})
    assert param.item() == pytest.approx(0.8 - 0.1 * (0.9 * 2 + 2))
    assert state.keys() == {keys.MOMENTUM_BUFFER}


def test_plain_sgd_keeps_no_state() -> None:
    param, state = torch.ones(1, requires_grad=True), {}
    param.grad = torch.tensor([2.0])
    with torch.no_grad():
        update("sgd", [param], [state], {**SETTINGS, "momentum": 0})
    assert not state


def test_the_first_adam_step_has_the_length_of_the_learning_rate() -> None:
    param, state = torch.ones(1, requires_grad=True), {}
    param.grad = torch.tensor([3.0])
    with torch.no_grad():
        update("adam", [param], [state], {**SETTINGS, "weight_decay": 0})
    assert param.item() == pytest.approx(0.9, abs=1e-6)
    assert state.keys() == {keys.STEP, keys.FIRST_MOMENT, keys.SECOND_MOMENT}
