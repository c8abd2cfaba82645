"""One scale for the units of all groups: how much the loss rises, per share of the budget saved.

A criterion says which units of a group matter least. How much of the group can go is another
question, and the mean of its weights is no answer: a layer may be wide and idle, or narrow and
needed. So each group is narrowed on trial, a few widths at a time, and the loss is measured on
samples; whole operators are tried as well and stand on the same scale. Narrowing costs more and
more the narrower a group gets, so that dividing by what it saves empties no group.

What a trial measures is the loss before anything has adapted. Much of it goes away when the rest
learns, and how much differs from group to group. So the measured slope is drawn towards what is
known without measuring: that equal shares of all groups are a good choice. As a geometric mean of
weight ``PRIOR_WEIGHT``, that expectation is 1 for the first unit of every group and grows with 1 /
(share of the group that is left); an operator counts as a group narrowed to ``OPERATOR_WIDTH``.
Only ratios matter, so that the expectation needs no unit.

Shape letters: U units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import torch
from torch import Tensor

from optimizer.h2spg.search import Choose
from optimizer.trainer.liveness import Alive, nobody_listens

SHARES = (0.25, 0.5, 0.8)  # of a group that is tried without; the rest stays until nothing else can
PRIOR_WEIGHT = 0.5
OPERATOR_WIDTH = 0.25
_BEYOND = 4.0  # slope of units that no trial went without, over that of the last that one did
_LEAST_RISE = 1e-6  # of the loss: where nothing is lost, what saves most goes first
_LEAST_SAVING = 1e-9  # of the whole model
_MOST_SAMPLES = 0.25  # seen in trials, per sample trained on: a forward pass is a third of a step
_STEPS_PER_TRIAL = 2  # at least, where profiles are taken unasked
_LAST = 1e9  # the saliency from which on a unit only goes for want of others
_TILT = 1e-9  # units of one slope still go in the order of their saliency


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What profiles are measured with.

    Attributes:
        pool_of_unit: int64 (U,), the group of each unit; operators have pools of their own.
        operators: Bool (U,), the units that are whole operators and worth a trial; others in
            their pools cost nothing and are never tried.
        loss_without: The loss on samples with the units of a bool (U,) at 0.
        remaining: Share of the budget's quantity that remains without the units of a bool (U,).
        alive: Called before every trial.
    """

    pool_of_unit: Tensor
    operators: Tensor
    loss_without: Callable[[Tensor], float]
    remaining: Callable[[Tensor], float]
    alive: Alive = nobody_listens


def num_trials(pool_of_unit: Tensor, operators: Tensor) -> int:
    """How many losses are measured for one decision, at most; arguments as those of ``Trials``."""
    pools_of_operators = set(pool_of_unit[operators].tolist())
    groups = set(pool_of_unit.tolist()) - pools_of_operators
    return 1 + len(groups) * len(SHARES) + int(operators.sum())


def samples_per_trial(most: int, *, batch_size: int, steps: int, trials: int) -> int:
    """How many samples a loss is measured on: two batches at least, and few where a run is short.

    Args:
        most: Samples per trial where time does not matter.
        batch_size: Of the run.
        steps: Of the whole run.
        trials: Of the whole run.
    """
    return max(2 * batch_size, min(most, int(_MOST_SAMPLES * steps * batch_size / max(1, trials))))


def is_affordable(trials: int, steps: int) -> bool:
    """Whether a run of so many steps is long enough for so many trials."""
    return _STEPS_PER_TRIAL * trials <= steps


def with_profiles(choose: Choose, trials: Trials) -> Choose:
    """Replace saliencies by the rise of the loss per share of the budget before ``choose``.

    Within a group the order stays as it was.
    """

    def choose_by_profile(saliency_U: Tensor, removed_U: Tensor, fraction: float) -> Tensor:
        return choose(profiled(saliency_U, removed_U, trials), removed_U, fraction)

    return choose_by_profile


def profiled(saliency_U: Tensor, removed_U: Tensor, trials: Trials) -> Tensor:
    """The saliencies that profiles make of those of a criterion.

    Args:
        saliency_U: float64 (U,), an order within each group.
        removed_U: Bool (U,), what is removed already.
        trials: How to measure.

    Returns:
        float64 (U,), loss per share of the budget, tempered. The last unit of a group lies above
        all others, and so do those without which nothing is saved.
    """
    found_U = _LAST * (1 + saliency_U / saliency_U.abs().max().clamp_min(1e-12))
    nothing_U = torch.zeros_like(removed_U)
    whole, before = trials.loss_without(nothing_U), trials.remaining(removed_U)

    def without(units: Sequence[int]) -> Tensor:
        gone_U = nothing_U.clone()
        gone_U[list(units)] = True
        return gone_U

    def saved(units: Sequence[int]) -> float:
        return before - trials.remaining(removed_U | without(units))

    def measured(units: Sequence[int]) -> tuple[float, float]:
        trials.alive()
        rise = trials.loss_without(without(units)) - whole
        return (rise if isfinite(rise) else _LAST), saved(units)

    least = _LEAST_RISE * max(abs(whole), _LEAST_RISE)
    whole_groups = trials.pool_of_unit.bincount()
    for units in _groups(saliency_U, removed_U, trials):
        is_operator = bool(trials.operators[units[0]])
        counts = _counts(len(units), is_operator=is_operator)
        if not counts or saved(units[: counts[-1]]) <= 0:
            continue  # dead with a structure, or of no cost: nothing to be gained, nothing to try
        points = [(0, 0.0, 0.0)] + [(count, *measured(units[:count])) for count in counts]
        slopes = slopes_of(points, least=least)
        slopes += [_BEYOND * slopes[-1]] * (len(units) - 1 - len(slopes))
        width = int(whole_groups[trials.pool_of_unit[units[0]]])
        for place, (unit, slope) in enumerate(zip(units, slopes, strict=False)):
            left = OPERATOR_WIDTH if is_operator else (len(units) - place) / width
            found_U[unit] = tempered(slope, left) * (1 + _TILT * place)
    return found_U


def tempered(slope: float, left: float) -> float:
    """A measured slope drawn towards what is expected with the share ``left`` of a group.

    Example:
        >>> tempered(2.0, 0.5)
        2.0
    """
    if slope >= _LAST:
        return slope  # the loss was no number
    return float(slope ** (1 - PRIOR_WEIGHT) * (1 / left) ** PRIOR_WEIGHT)


def slopes_of(points: Sequence[tuple[int, float, float]], *, least: float) -> list[float]:
    """What each unit of a group costs the loss per share saved: never less than the one before it.

    Args:
        points: (units gone, rise of the loss, share of the budget saved), from (0, 0, 0) on.
        least: Rise that a step between two points counts with at least.

    Returns:
        One for each unit up to the last point, in the order in which they go.

    Example:
        >>> slopes_of([(0, 0.0, 0.0), (2, 0.2, 0.1), (3, 0.5, 0.2)], least=0.0)
        [2.0, 2.0, 3.0]
    """
    blocks: list[tuple[float, float, int]] = []  # rise, saving, units; slopes rise strictly
    highest = 0.0
    for (count, _, saved), (next_count, rise, next_saved) in pairwise(points):
        step, highest = max(rise - highest, least), max(rise, highest)
        blocks.append((step, max(next_saved - saved, _LEAST_SAVING), next_count - count))
        while len(blocks) > 1 and _slope(blocks[-2]) >= _slope(blocks[-1]):
            last, first = blocks.pop(), blocks.pop()
            blocks.append((first[0] + last[0], first[1] + last[1], first[2] + last[2]))
    return [_slope(block) for block in blocks for _ in range(block[2])]


def _slope(block: tuple[float, float, int]) -> float:
    return block[0] / block[1]


def _counts(num_units: int, *, is_operator: bool) -> list[int]:
    """How many units a group is tried without; a group of channels is never tried without all."""
    if is_operator:
        return [1]
    return sorted({min(num_units - 1, max(1, round(share * num_units))) for share in SHARES} - {0})


def _groups(saliency_U: Tensor, removed_U: Tensor, trials: Trials) -> list[list[int]]:
    """The units that are left of each group, least salient first; each operator by itself."""
    order = sorted(
        (~removed_U).nonzero().flatten().tolist(), key=lambda unit: (float(saliency_U[unit]), unit)
    )
    pools = trials.pool_of_unit.tolist()
    whole = set(trials.operators.nonzero().flatten().tolist())
    pools_of_operators = {pools[unit] for unit in whole}
    groups: dict[tuple[int, int], list[int]] = {}
    for unit in order:
        if unit in whole:
            groups[pools[unit], unit] = [unit]
        elif pools[unit] not in pools_of_operators:
            groups.setdefault((pools[unit], -1), []).append(unit)
    return [groups[key] for key in sorted(groups)]
