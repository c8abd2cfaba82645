import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.h2spg.schedule import Phase, Schedule, from_numbers, to_numbers

PLAN = Schedule.regular(warm_up=3, periods=2, period_steps=4, total=15)


def test_phases_follow_each_other() -> None:
    assert [PLAN.phase(step) for step in (0, 2, 3, 6, 7, 10, 11, 14)] == [
        Phase.WARM_UP,
        Phase.WARM_UP,
        Phase.SEARCH,
        Phase.SEARCH,
        Phase.HYBRID,
        Phase.HYBRID,
        Phase.CONVERGED,
        Phase.CONVERGED,
    ]
    assert [step for step in range(15) if PLAN.is_decision(step)] == [3, 7]
    assert [PLAN.fraction(step) for step in (3, 7)] == [0.5, 1.0]
    assert [step for step in range(15) if PLAN.measures(step)] == [0, 1, 2, 3, 4, 5, 6]


def test_measuring_less_often_keeps_the_last_step_before_each_decision() -> None:
    measured = [step for step in range(15) if PLAN.measures(step, every=3)]
    assert measured == [2, 3, 6]
    assert [step for step in range(15) if PLAN.measures(step, every=99)] == [2, 6]


def test_the_decay_is_linear_and_ends_at_exactly_zero() -> None:
    factors = [PLAN.decay_factor(step) for step in range(3, 7)]
    assert factors == [3 / 4, 2 / 3, 1 / 2, 0.0]
    assert [math.prod(factors[: n + 1]) for n in range(4)] == pytest.approx([0.75, 0.5, 0.25, 0])
    assert PLAN.decay_factor(2) == PLAN.decay_factor(11) == 1.0
    assert [step for step in range(15) if PLAN.arrives(step)] == [6, 10]


@pytest.mark.parametrize(
    "boundaries, total, message",
    [
        ((0, 4), 9, "warm-up step"),
        ((1, 2), 9, "at least 2 steps"),
        ((1,), 9, "at least one period"),
        ((1, 9), 8, "after the end"),
        ((0, 1), 0, "warm-up.*at least 2.*after the end"),
    ],
)
def test_traps_are_refused(boundaries: tuple[int, ...], total: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(boundaries, total)


@given(
    warm_up=st.integers(1, 30),
    periods=st.integers(1, 6),
    period_steps=st.integers(2, 20),
    rest=st.integers(0, 50),
    now=st.integers(0, 200),
    total=st.integers(0, 300),
)
def test_compressing_keeps_the_past_and_the_promises(
    warm_up: int, periods: int, period_steps: int, rest: int, now: int, total: int
) -> None:
    end = warm_up + periods * period_steps + rest
    plan = Schedule.regular(warm_up=warm_up, periods=periods, period_steps=period_steps, total=end)
    now = min(now, end)
    shorter = plan.compressed(now=now, total=total)
    assert shorter.periods == plan.periods
    assert shorter.total <= max(plan.total, shorter.arrival)
    past = [boundary for boundary in plan.boundaries if boundary <= now]
    assert list(shorter.boundaries[: len(past)]) == past
    assert all(boundary > now for boundary in shorter.boundaries[len(past) :])
    assert shorter.total >= now


def test_compressing_to_more_steps_changes_nothing() -> None:
    assert PLAN.compressed(now=2, total=99) is PLAN


def test_numbers_round_trip() -> None:
    assert from_numbers(to_numbers(PLAN)) == PLAN
