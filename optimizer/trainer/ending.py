"""When a run ends before its last step: good enough, or no longer getting better."""

import math
from collections.abc import Mapping
from typing import Any

from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.trainer.evaluation import Evaluation
from optimizer.trainer.incidents import TrainEvent
from optimizer.trainer.standing import Standing

SCHEDULE, GOOD_ENOUGH, NO_PROGRESS = "schedule", "good-enough", "no-progress"
_STANDARD_ERRORS = 2


def check_can_judge(config: TrainConfig, original: Evaluation | None) -> None:
    """Refuse settings that need to judge what cannot be judged.

    Args:
        config: Settings.
        original: The network to start from, judged on the validation samples, if there are any.

    Raises:
        InputError: No validation samples, or no classes to count.
    """
    if config.patience is not None and original is None:
        message = "patience needs validation samples; there are none"
        raise InputError(message, param="patience")
    if config.early_stop and (original is None or original.accuracy is None):
        message = "early_stop needs validation samples, labels and classes to count"
        raise InputError(message, param="early_stop")


def reason_to_end(
    config: TrainConfig, standing: Standing, original: Evaluation | None
) -> str | None:
    """Whether the run ends after an evaluation behind the arrival, and why.

    1. ``good-enough``: the best accuracy so far is above the original's less the accepted drop by
       more than two of its standard errors, so that one lucky evaluation of many ends nothing.
    2. ``no-progress``: ``patience`` evaluations brought nothing better.
    """
    if config.early_stop and _is_surely_within(config, standing.best, original):
        return GOOD_ENOUGH
    if config.patience is not None and standing.without_progress >= config.patience:
        return NO_PROGRESS
    return None


def is_within_drop(
    config: TrainConfig, best: Evaluation | None, original: Evaluation | None
) -> bool | None:
    """Whether the best network is as accurate as was asked for; None where nothing was."""
    margin = _margin(config, best, original)
    return None if margin is None else margin >= 0


def ended_event(reason: str, done: int, total: int, standing: Standing) -> TrainEvent:
    """The event of ending before the last step."""
    best = standing.best
    texts = {
        GOOD_ENOUGH: "the network is as accurate as was asked for",
        NO_PROGRESS: f"{standing.without_progress} evaluations brought nothing better",
    }
    data = {"reason": reason, "step": done, "total": total, **_figures(best)}
    message = f"training ends after {done} of {total} steps: {texts[reason]}"
    return TrainEvent(code="training-ended-early", message=message, data=data)


def exceeded_event(
    config: TrainConfig, best: Evaluation | None, original: Evaluation | None
) -> TrainEvent | None:
    """The event of a result that is less accurate than was asked for, if it is."""
    if is_within_drop(config, best, original) is not False:
        return None
    assert best is not None
    assert best.accuracy is not None
    assert original is not None
    assert original.accuracy is not None
    message = (
        f"accuracy on the validation samples fell from {original.accuracy:.4f} to "
        f"{best.accuracy:.4f}; max_accuracy_drop allows {config.max_accuracy_drop:g}"
    )
    data = {"original": original.accuracy, **_figures(best)}
    return TrainEvent(code="accuracy-drop-exceeded", message=message, data=data)


def _is_surely_within(
    config: TrainConfig, best: Evaluation | None, original: Evaluation | None
) -> bool:
    margin = _margin(config, best, original)
    if margin is None or best is None or best.accuracy is None:
        return False
    error = math.sqrt(best.accuracy * (1 - best.accuracy) / best.num_samples)
    return margin >= _STANDARD_ERRORS * error


def _margin(
    config: TrainConfig, best: Evaluation | None, original: Evaluation | None
) -> float | None:
    """Accuracy above what is accepted, if that was said and can be counted."""
    if config.max_accuracy_drop is None or best is None or original is None:
        return None
    if best.accuracy is None or original.accuracy is None:
        return None
    # counts of the same samples: equal ones must not differ by rounding
    return round(best.accuracy - original.accuracy + config.max_accuracy_drop, 9)


def _figures(best: Evaluation | None) -> Mapping[str, Any]:
    return {} if best is None else {"accuracy": best.accuracy, "loss": best.loss}
