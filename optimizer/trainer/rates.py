"""The learning rate: a function of the settings and of how much of the run is over.

Decisions of the search are not among the arguments, so the rate never jumps at one.
"""

import math
from collections.abc import Callable, Mapping

from optimizer.config import TrainConfig

_ONE_CYCLE_RISE = 0.3  # share of the steps, where the setting does not ask for more
_ONE_CYCLE_START = 1 / 25  # of the peak (Smith and Topin, 2018, as torch has it)
_DROPS = (0.5, 0.75)  # shares of the steps after which "step" goes on with a tenth
_DROP = 0.1


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate of ``step``.

    1. All schedules rise to the peak first, in ``lr_warm_up_ratio`` of the steps: linearly from
       nothing, ``one-cycle`` along a cosine from a 25th of the peak and in 30 % at least.
    2. ``cosine`` and ``one-cycle`` then fall along half a cosine to 0 at ``total``, ``constant``
       stays, ``step`` divides by ten after half and after three quarters of all steps.

    Args:
        config: Settings.
        step: The step, from 0.
        total: Steps of the whole run.
    """
    cycles = config.lr_schedule == "one-cycle"
    share = max(config.lr_warm_up_ratio, _ONE_CYCLE_RISE) if cycles else config.lr_warm_up_ratio
    rise = share * total
    if step < rise:
        done = (step + 1) / (rise + 1)
        return config.peak_lr * (_risen(step / rise) if cycles else done)
    after = min(1.0, (step - rise) / max(1.0, total - rise))
    return config.peak_lr * _FALLS[config.lr_schedule](after, step / max(1, total))


def _risen(done: float) -> float:
    return _ONE_CYCLE_START + (1 - _ONE_CYCLE_START) * 0.5 * (1 - math.cos(math.pi * done))


def _along_cosine(after: float, _: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * after))


def _by_steps(_: float, of_all: float) -> float:
    return math.prod(_DROP for drop in _DROPS if of_all >= drop)


# Share of the peak, by the share of the steps after the rise and by the share of all steps.
_FALLS: Mapping[str, Callable[[float, float], float]] = {
    "cosine": _along_cosine,
    "one-cycle": _along_cosine,
    "constant": lambda *_: 1.0,
    "step": _by_steps,
}
