from itertools import pairwise

import pytest

from optimizer.config import LR_SCHEDULES, TrainConfig
from optimizer.trainer.rates import learning_rate

TOTAL = 100


def rates(schedule: str, rise: float = 0.1) -> list[float]:
    config = TrainConfig(target_ratio=0.5, lr=1.0, lr_warm_up_ratio=rise, lr_schedule=schedule)
    return [learning_rate(config, step, TOTAL) for step in range(TOTAL + 1)]


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    found = rates("cosine")
    assert found[0] == pytest.approx(1 / 11)
    assert found[:10] == sorted(found[:10])
    assert found[10] == 1.0
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[100] == 0.0
    assert found[55] == pytest.approx(0.5)


def test_one_cycle_rises_longer_from_a_25th() -> None:
    found = rates("one-cycle")
    assert found[0] == pytest.approx(0.04)
    assert found[:31] == sorted(found[:31])
    assert found[30] == 1.0
    assert found[15] == pytest.approx(0.52)
    assert found[30:] == sorted(found[30:], reverse=True)
    assert found[100] == 0.0
    assert rates("one-cycle", rise=0.5)[50] == 1.0


def test_constant_stays_and_step_divides_by_ten_twice() -> None:
    assert set(rates("constant")[10:]) == {1.0}
    found = rates("step")
    assert set(found[10:50]) == {1.0}
    assert found[50:75] == pytest.approx([0.1] * 25)
    assert found[75:] == pytest.approx([0.01] * 26)


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_nothing_jumps_but_where_it_is_meant_to(schedule: str) -> None:
    found = rates(schedule)
    jumps = [step for step, (one, two) in enumerate(pairwise(found)) if abs(one - two) > 0.1]
    assert jumps == ([49] if schedule == "step" else [])


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_runs_of_one_step_and_of_warm_up_only_have_a_rate(schedule: str) -> None:
    config = TrainConfig(target_ratio=0.5, lr=1.0, lr_schedule=schedule, lr_warm_up_ratio=1.0)
    assert 0 < learning_rate(config, 0, 1) <= 1
    assert 0 < learning_rate(config, 9, 10) <= 1
