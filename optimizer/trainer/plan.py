"""How many steps, and when the units go: functions of the settings."""

import math

from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.h2spg.schedule import MIN_PERIOD, Schedule

_SAFETY = 0.9  # of the time that is left: evaluations and checkpoints take some


def plan(config: TrainConfig, steps_per_epoch: int) -> Schedule:
    """Lay out a run.

    Short runs get fewer periods than asked for, so that each is long enough to shrink units in.

    Raises:
        InputError: Too few steps for even one period.
    """
    total = config.epochs * steps_per_epoch
    warm_up = max(1, round(total * config.warm_up))
    search = max(MIN_PERIOD, round(total * config.search))
    if warm_up + search > total:
        needed = math.ceil((1 + MIN_PERIOD) / steps_per_epoch)
        message = (
            f"{config.epochs} epochs are {total} steps, too few to remove anything gradually; "
            f"set epochs to {max(needed, config.epochs + 1)} or more, or a smaller batch size"
        )
        raise InputError(message, param="epochs")
    periods = min(config.num_periods, search // MIN_PERIOD)
    return Schedule.regular(
        warm_up=warm_up, periods=periods, period_steps=search // periods, total=total
    )


def within_budget(
    schedule: Schedule, *, step: int, elapsed: float, budget: float, per_step: float
) -> Schedule:
    """Compress ``schedule`` so that the rest ends in time; never stretches it.

    Args:
        schedule: In force.
        step: The next step.
        elapsed: Seconds used so far.
        budget: Seconds in all.
        per_step: Seconds that a step takes.
    """
    affordable = max(0.0, budget - elapsed) * _SAFETY / max(per_step, 1e-9)
    if affordable >= schedule.total - step:
        return schedule
    return schedule.compressed(now=step, total=step + int(affordable))
