import dataclasses

import pytest

from optimizer.config import DEFAULT_LR, TrainConfig
from optimizer.errors import InputError


def test_every_setting_is_checked_and_all_offenders_are_named() -> None:
    with pytest.raises(InputError) as caught:
        TrainConfig(target_ratio=1.5, epochs=0, lr=-1.0, optimizer="lion", time_budget=0)
    message = str(caught.value)
    assert "target_ratio=1.5 (legal: above 0 and below 1)" in message
    for name in ("epochs=0", "lr=-1.0", "optimizer='lion'", "time_budget=0"):
        assert name in message
    assert caught.value.param == "target_ratio"
    assert caught.value.code == "invalid-request"


@pytest.mark.parametrize("field", dataclasses.fields(TrainConfig), ids=lambda field: field.name)
def test_no_setting_goes_unchecked(field: dataclasses.Field[object]) -> None:
    with pytest.raises(InputError, match=field.name):
        TrainConfig(**{"target_ratio": 0.5, field.name: -3.5})  # type: ignore[arg-type]


def test_true_is_no_number_and_nan_is_not_in_range() -> None:
    with pytest.raises(InputError, match="epochs=True"):
        TrainConfig(target_ratio=0.5, epochs=True)
    with pytest.raises(InputError, match="lr=nan"):
        TrainConfig(target_ratio=0.5, lr=float("nan"))


def test_phases_must_fit_into_the_run() -> None:
    with pytest.raises(InputError, match="nothing could arrive") as caught:
        TrainConfig(target_ratio=0.5, warm_up_ratio=0.7, search_ratio=0.6)
    assert caught.value.param == "search_ratio"


def test_defaults_depend_on_the_optimizer_and_can_be_set() -> None:
    assert TrainConfig(target_ratio=0.5).peak_lr == DEFAULT_LR["sgd"]
    adamw = TrainConfig(target_ratio=0.5, optimizer="adamw")
    assert (adamw.peak_lr, adamw.decay) == (DEFAULT_LR["adamw"], 0.01)
    own = TrainConfig(target_ratio=0.5, lr=0.3, weight_decay=0.0)
    assert (own.peak_lr, own.decay) == (0.3, 0.0)


def test_how_long_a_run_may_take_is_not_part_of_its_identity() -> None:
    one = TrainConfig(target_ratio=0.5, time_budget=3.0, checkpoint_steps=7)
    assert one.identity() == TrainConfig(target_ratio=0.5).identity()
    assert one.identity() != TrainConfig(target_ratio=0.4).identity()
