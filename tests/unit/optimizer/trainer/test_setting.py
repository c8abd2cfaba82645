import pytest
import torch

from optimizer.errors import InputError
from optimizer.trainer.preparing import prepare
from optimizer.trainer.setting import Setting
from tests.unit.optimizer.trainer.networks import FakeBinding, config, data, imported


def a_setting(**settings: object) -> Setting:
    one = imported()
    return prepare(one, data(), FakeBinding(one), config(**settings))


def test_only_weights_with_two_axes_decay() -> None:
    groups = a_setting(weight_decay=0.3).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert all(parameter.dim() > 1 for parameter in groups[0]["params"])
    assert all(parameter.dim() <= 1 for parameter in groups[1]["params"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_optimizer_is_the_one_that_was_asked_for(optimizer: str) -> None:
    setting = a_setting(optimizer=optimizer, lr=0.01)
    assert setting.optimizer.variant == optimizer
    assert ("betas" in setting.optimizer.param_groups[0]) == (optimizer != "sgd")


def test_the_batch_of_a_step_and_its_loss_are_a_function_of_seed_and_step() -> None:
    losses = []
    for _ in range(2):
        setting = a_setting()
        torch.manual_seed(0)
        losses.append(setting.loss_at(5).item())
    assert losses[0] == losses[1]
    assert a_setting(seed=1).loss_at(5).item() != losses[0]


def test_identity_covers_settings_weights_units_and_data() -> None:
    one = a_setting().identity()
    assert one == a_setting(time_budget=5.0).identity()
    assert one != a_setting(lr=0.3).identity()
    assert one["samples"] == 64
    assert one["units"] == 7


def test_the_original_is_judged_before_the_first_step() -> None:
    setting = a_setting()
    assert setting.original is not None
    assert setting.original == setting.evaluate()


def test_labels_that_are_no_classes_are_refused() -> None:
    one, arrays = imported(), data()
    assert arrays.train.labels is not None
    arrays.train.labels[3] = 99
    with pytest.raises(InputError, match="label 99 in row 3"):
        prepare(one, arrays, FakeBinding(one), config())
