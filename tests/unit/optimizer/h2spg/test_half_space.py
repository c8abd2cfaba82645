import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optimizer.h2spg.half_space import PenaltySettings, leaves_half_space, penalty_factor

SETTINGS = PenaltySettings(penalty=0.1, amplify=2.0, limit=10.0, epsilon=0.5)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_four_cases_of_the_penalty_by_hand() -> None:
    norm = vector(2, 2, 2, 2)
    dot = vector(0.5, -0.4, -8, -0.02)
    direction_square_norm = vector(9, 9, 16, 9)
    factor = penalty_factor(norm, dot, direction_square_norm, SETTINGS)
    # 1. p >= 0: lambda. 2. lo = 0.2, up = 45: amplify * lo. 3. lo = 4 = up: clip gives 1, which is
    # below up. 4. amplify * lo = 0.02 is lifted to lambda.
    assert factor.tolist() == pytest.approx([0.1, 0.4, 1.0, 0.1])


def test_above_the_upper_bound_the_middle_is_taken() -> None:
    # lo = 0.3 / 1, up = 0.12 * 1 / 0.3 = 0.4, amplify * lo = 0.6 >= up
    factor = penalty_factor(vector(1), vector(-0.3), vector(0.12), SETTINGS)
    assert factor.tolist() == pytest.approx([0.35])


@given(
    x=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    d=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
)
def test_an_unclipped_penalty_shrinks_the_norm_and_still_descends(
    x: list[float], d: list[float]
) -> None:
    current, direction = vector(*x), vector(*d)
    norm = current.norm()
    dot = current @ direction
    if norm < 0.1 or direction.norm() < 0.1 or dot > -0.01:
        return
    free = PenaltySettings(penalty=1e-9, amplify=2.0, limit=1e12)
    factor = penalty_factor(norm[None], dot[None], (direction @ direction)[None], free)[0]
    total = direction + factor * current / norm
    assert current @ total >= -1e-9  # the norm does not grow, to first order
    assert direction @ total >= -1e-9  # nor does the loss


def test_the_half_space_by_hand_and_zero_stays_zero() -> None:
    square_norm = vector(4, 4, 4, 0)
    trial_dot = vector(1.9, 2.0, -1, 0)
    leaves = leaves_half_space(trial_dot, square_norm, epsilon=0.5)
    assert leaves.tolist() == [True, False, True, True]


def test_constants_out_of_range_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"penalty > 0, amplify >= 1, limit >= 1, 0 <= epsilon"):
        PenaltySettings(penalty=0, amplify=0, limit=0, epsilon=1)
