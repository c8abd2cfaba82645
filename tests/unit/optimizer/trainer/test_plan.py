import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.h2spg import Schedule
from optimizer.trainer.plan import plan, within_budget


def test_the_phases_take_their_shares() -> None:
    config = TrainConfig(
        target_ratio=0.5, epochs=10, warm_up_ratio=0.1, search_ratio=0.2, periods=4
    )
    assert plan(config, 10) == Schedule((10, 15, 20, 25, 30), 100)


def test_short_runs_get_fewer_periods() -> None:
    config = TrainConfig(target_ratio=0.5, epochs=1, periods=5, search_ratio=0.5)
    assert plan(config, 10) == Schedule((1, 3, 5), 10)


@pytest.mark.parametrize(
    ("target", "settings", "periods", "arrival"),
    [
        (0.9, {}, 2, 13),
        (0.5, {}, 3, 17),
        (0.3, {}, 4, 21),
        (0.25, {}, 5, 25),
        (0.01, {}, 5, 25),
        (0.5, {"periods": 5}, 5, 25),
        (0.25, {"search_ratio": 0.5}, 5, 55),
        (0.25, {"periods": 20}, 20, 45),
    ],
)
def test_the_search_is_as_long_as_the_target_is_low(
    target: float, settings: dict[str, float], periods: int, arrival: int
) -> None:
    schedule = plan(TrainConfig(target_ratio=target, epochs=10, **settings), 10)  # type: ignore[arg-type]
    assert (schedule.periods, schedule.arrival) == (periods, arrival)


@given(epochs=st.integers(1, 50), per_epoch=st.integers(1, 50), periods=st.integers(1, 9))
def test_every_plan_ends_within_its_epochs_or_says_how_many_are_needed(
    epochs: int, per_epoch: int, periods: int
) -> None:
    config = TrainConfig(target_ratio=0.5, epochs=epochs, periods=periods)
    if epochs * per_epoch < 3:
        with pytest.raises(InputError, match="set epochs to") as caught:
            plan(config, per_epoch)
        assert caught.value.param == "epochs"
    else:
        schedule = plan(config, per_epoch)
        assert schedule.total == epochs * per_epoch
        assert schedule.arrival <= schedule.total


def test_a_budget_shortens_and_never_stretches() -> None:
    schedule = Schedule((10, 20, 30), 100)
    enough = within_budget(schedule, step=5, elapsed=5, budget=200, per_step=1)
    assert enough is schedule
    short = within_budget(schedule, step=5, elapsed=5, budget=55, per_step=1)
    assert short.total == 5 + 45
    assert short.arrival < 30
    over = within_budget(schedule, step=40, elapsed=99, budget=55, per_step=1)
    assert over.total == 40 + 1  # what is under way ends, and is judged
