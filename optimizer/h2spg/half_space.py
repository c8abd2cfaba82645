"""The paper's hybrid step for redundant units: a penalty, then the half-space step.

Pure functions of per-unit vectors. The step keeps the trial point or zeroes the whole unit; it is
not the Euclidean projection. By itself it does not bring large units to 0 (PAPER.md 1.3), which is
why ``schedule`` guarantees arrival in the default mode.

Shape letters: U units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NORM_FLOOR = 1e-8


@dataclass(frozen=True, kw_only=True)
class PenaltySettings:
    """Constants of the penalty; the defaults are those published for SGD.

    Attributes:
        penalty: lambda, the smallest factor.
        amplify: How far above the smallest useful factor to go.
        limit: hat_coeff, the largest factor divided by ``penalty``.
        epsilon: eps of the half-space; every published recipe uses 0.9 to 0.95.
    """

    penalty: float = 1e-3
    amplify: float = 2.0
    limit: float = 10.0
    epsilon: float = 0.95

    def __post_init__(self) -> None:
        """Refuse constants outside their range: all of them at once.

        Raises:
            ValueError: A value is not in its legal range.
        """
        legal = {
            "penalty > 0": self.penalty > 0,
            "amplify >= 1": self.amplify >= 1,
            "limit >= 1": self.limit >= 1,
            "0 <= epsilon < 1": 0 <= self.epsilon < 1,
        }
        broken = [rule for rule, holds in legal.items() if not holds]
        if broken:
            message = f"penalty settings must satisfy {', '.join(broken)}; got {self}"
            raise ValueError(message)


PUBLISHED_FOR_ADAM = PenaltySettings(penalty=1e-2, amplify=20.0, limit=1e3)


def penalty_factor(
    norm_U: Tensor, dot_U: Tensor, direction_square_norm_U: Tensor, settings: PenaltySettings
) -> Tensor:
    """lambda_g of each unit (PAPER.md 1.3, phase 3).

    With p = <x, d>:

    1. p >= 0: lambda; the plain step shrinks the norm already.
    2. Otherwise the norm shrinks above ``lo = -p / ||x||``, and the direction still descends below
       ``up = -||d||^2 * ||x|| / p``: ``clip(amplify * lo, lambda, lambda * limit)``,
    3. and the middle of lo and up where that is not below up.

    Args:
        norm_U: ||x||.
        dot_U: p.
        direction_square_norm_U: ||d||^2.
        settings: lambda and its limits.

    Returns:
        (U,), at least 0.
    """
    low_U = -dot_U / norm_U.clamp_min(NORM_FLOOR)
    high_U = -direction_square_norm_U * norm_U / torch.where(dot_U < 0, dot_U, -1.0)
    largest = settings.penalty * settings.limit
    factor_U = (settings.amplify * low_U).clamp(settings.penalty, largest)
    factor_U = torch.where(factor_U >= high_U, (low_U + high_U) / 2, factor_U)
    return torch.where(dot_U >= 0, settings.penalty, factor_U)


def leaves_half_space(trial_dot_U: Tensor, square_norm_U: Tensor, *, epsilon: float) -> Tensor:
    """Which units the half-space step zeroes: <trial, x> < epsilon * ||x||^2.

    At x = 0 the strict test is false and would let the unit back in, so that zero stays zero by a
    rule of its own, here.

    Args:
        trial_dot_U: <trial, x> with x before the step.
        square_norm_U: ||x||^2.
        epsilon: Opening of the half-space.

    Returns:
        bool (U,).
    """
    return (trial_dot_U < epsilon * square_norm_U) | (square_norm_U == 0)
