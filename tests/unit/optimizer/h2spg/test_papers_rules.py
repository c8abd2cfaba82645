"""The paper's and HESSO's rules by hand: in plain numbers, with nothing of the code under test."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optimizer.h2spg import H2SPG, PenaltySettings, Schedule, UnitLayout, UnitSlices

# Two units of one parameter each; the gradient is given, so that every number can be written down.
START = ((3.0, 4.0), (0.6, 0.8))
GRADIENTS = (((1.0, 0.0), (-0.6, -0.8)), ((0.0, 2.0), (1.0, 0.0)), ((3.0, 4.0), (0.0, -1.0)))


def two_units(choose: Any, **settings: Any) -> tuple[list[nn.Parameter], H2SPG]:
    parameters = [nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in START]
    slices = [UnitSlices(p, 0, torch.full((2,), unit)) for unit, p in enumerate(parameters)]
    layout = UnitLayout(slices, num_units=2, pool_of_unit=torch.zeros(2))
    return parameters, H2SPG(parameters, layout, choose=choose, **settings)


def follow(parameters: list[nn.Parameter], gradients: Any) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)


def test_the_redundancy_score_and_its_running_average_over_the_warm_up() -> None:
    seen: list[Tensor] = []

    def watch(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        seen.append(saliency)
        return removed

    w, lr = 0.75, 0.1
    parameters, optimizer = two_units(
        watch, schedule=Schedule((3, 9), 9), lr=lr, saliency="paper", averaging=w, mode="paper"
    )
    x = [list(START[0]), list(START[1])]
    average = [0.0, 0.0]
    for gradients in GRADIENTS:
        cosines, inverses = [], []
        for unit in range(2):
            (a, b), (c, d) = x[unit], gradients[unit]
            # cos(-x, -d) = cos(x, d); the mean magnitude has two elements
            cosines.append((a * c + b * d) / (math.hypot(a, b) * math.hypot(c, d)))
            inverses.append(1 / (math.hypot(a, b) / 2 + 1e-6))
        for unit in range(2):
            score = 0.5 * cosines[unit] / math.hypot(*cosines)
            score += 0.5 * inverses[unit] / math.hypot(*inverses)
            average[unit] = w * average[unit] + (1 - w) * score
            x[unit] = [value - lr * g for value, g in zip(x[unit], gradients[unit], strict=True)]
        follow(parameters, gradients)
        optimizer.step()
    follow(parameters, GRADIENTS[0])
    optimizer.step()
    assert seen[0].tolist() == pytest.approx([-value for value in average])


# Unit 0 is redundant with x = (3, 4), ||x|| = 5, lr = 0.1, lambda = 1, amplify = 2, limit = 10.
# lambda_g by hand; then trial = x - 0.1 * d - 0.1 * lambda_g * x / 5.
RULES = [
    ("p >= 0: lambda", (1.0, 2.0), 1.0),
    ("p = 0: lambda", (4.0, -3.0), 1.0),
    ("p = -10, lo = 2, up = 65 / 2: 2 * lo", (-10.0, 5.0), 4.0),
    ("p = -0.5, lo = 0.1, up = 50.125: lifted to lambda", (-4.1667, 3.0), 1.0),
    ("p = -40, lo = 8, up = 12.5: cut to 10", (0.0, -10.0), 10.0),
    ("p = -5, lo = up = 1: the middle", (-0.6, -0.8), 1.0),
    ("p = -5, lo = 1, up = 1.5: the middle", (-0.0343146, -1.2242641), 1.25),
    ("p = -10, lo = up = 2: the middle", (-1.2, -1.6), 2.0),
]


@pytest.mark.parametrize("rule, direction, factor", RULES, ids=[rule for rule, *_ in RULES])
def test_lambda_g_and_the_half_space_step(
    rule: str, direction: tuple[float, float], factor: float
) -> None:
    penalty = PenaltySettings(penalty=1.0, amplify=2.0, limit=10.0, epsilon=0.9)

    def choose(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        return torch.tensor([True, False])

    parameters, optimizer = two_units(
        choose, schedule=Schedule((1, 9), 9), lr=0.1, mode="paper", penalty=penalty
    )
    follow(parameters, ((0.0, 0.0), (0.0, 0.0)))
    optimizer.step()
    follow(parameters, (direction, (1.0, -1.0)))
    optimizer.step()
    trial = [x - 0.1 * d - 0.1 * factor * x / 5 for x, d in zip((3, 4), direction, strict=True)]
    stays = 3 * trial[0] + 4 * trial[1] >= 0.9 * 25
    assert parameters[0].tolist() == pytest.approx(trial if stays else [0, 0], abs=1e-6)
    assert bool(optimizer.zero[0]) is not stays
    assert parameters[1].tolist() == pytest.approx([0.5, 0.9])  # important: the plain step


def test_a_unit_leaves_where_the_trial_point_falls_below_the_half_space() -> None:
    def choose(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        return torch.tensor([True, True])

    penalty = PenaltySettings(penalty=1.0, amplify=2.0, limit=10.0, epsilon=0.8)
    parameters, optimizer = two_units(
        choose, schedule=Schedule((1, 9), 9), lr=0.1, mode="paper", penalty=penalty
    )
    follow(parameters, ((0.0, 0.0), (0.0, 0.0)))
    optimizer.step()
    # Unit 0: trial = (3, 4) - 0.1 * (3, 4) - 0.1 * (0.6, 0.8) = (2.64, 3.52); 22 >= 0.8 * 25.
    # Unit 1: trial = (0.6, 0.8) * (1 - 0.1 - 0.1 / 1); 0.8 = 0.8 * 1, so a little more leaves.
    follow(parameters, ((3.0, 4.0), (0.66, 0.88)))
    optimizer.step()
    assert parameters[0].tolist() == pytest.approx([2.64, 3.52])
    assert parameters[1].tolist() == [0, 0]
    assert optimizer.zero.tolist() == [False, True]
    follow(parameters, ((0.0, 0.0), (-5.0, -5.0)))
    optimizer.step()
    assert parameters[1].tolist() == [0, 0]  # zero stays zero


@pytest.mark.parametrize("periods, steps", [(1, 6), (3, 4)])
def test_the_linear_decay_of_hesso(periods: int, steps: int) -> None:
    """(D - t - 1) / (D - t) after each plain step: 1 - t / D of the start, and exactly 0."""

    def choose(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        return torch.tensor([True, fraction == 1.0])

    plan = Schedule.regular(warm_up=1, periods=periods, period_steps=steps, total=30)
    parameters, optimizer = two_units(choose, schedule=plan, lr=0.1)
    first = torch.tensor(START[0], dtype=torch.float64)
    expected = first.clone()
    for step in range(plan.arrival):
        follow(parameters, ((0.5, -0.5), (0.0, 0.0)))
        optimizer.step()
        expected -= 0.1 * torch.tensor([0.5, -0.5], dtype=torch.float64)
        if 1 <= step <= steps:  # D - t with t = step - 1
            expected *= (steps - step) / (steps - step + 1)
        if step > steps:
            expected.zero_()
        assert parameters[0].tolist() == pytest.approx(expected.tolist())
        assert bool((parameters[0] == 0).all()) is (step >= steps)
    assert parameters[1].tolist() == [0, 0]


def test_saliency_in_every_kth_step_is_that_of_the_last_before_the_decision() -> None:
    seen: list[Tensor] = []

    def watch(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        seen.append(saliency)
        return removed

    def taylor(every: int, warm_up: int) -> list[float]:
        plan = Schedule((warm_up, 9), 9)
        parameters, optimizer = two_units(
            watch, schedule=plan, lr=0.0, saliency="taylor", measure_every=every
        )
        for step in range(warm_up + 1):
            follow(parameters, GRADIENTS[step % 3])
            optimizer.step()
        return seen[-1].tolist()

    # |<x, g>| of the three steps: (3, 1), (8, 0.6), (25, 0.8), relative to their mean
    def relative(*rows: tuple[float, float]) -> list[float]:
        sums = [sum(row[unit] for row in rows) for unit in range(2)]
        return [value / (sum(sums) / 2) for value in sums]

    steps = ((3.0, 1.0), (8.0, 0.6), (25.0, 0.8))
    assert taylor(1, 3) == pytest.approx(relative(*steps))
    assert taylor(2, 3) == pytest.approx(relative(steps[0], steps[2]))
    assert taylor(3, 3) == pytest.approx(relative(steps[2]))
    assert taylor(99, 3) == pytest.approx(relative(steps[2]))
