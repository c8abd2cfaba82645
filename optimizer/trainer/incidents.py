"""What can happen to a run: the errors, the events, and the rule for a loss that is not finite.

::

    SecateurError (graph_analysis)
    +-- TrainingDivergedError          NaN or Inf again after every restart
    Stopped                            asked to stop; not an error
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optimizer.errors import SecateurError

MAX_RESTARTS = 2
LR_FACTOR = 0.5  # of the learning rate, at each restart


@dataclass(frozen=True, kw_only=True)
class TrainEvent:
    """Something that the user should see in the job's history.

    Attributes:
        code: Stable kebab-case name.
        message: One sentence.
        data: JSON-compatible details.
    """

    code: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Stopped(Exception):  # noqa: N818 - not an error: a request that was granted
    """The run stopped on request, after writing a checkpoint if it has a folder for them."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped on request before step {step}")
        self.step = step


class TrainingDivergedError(SecateurError):
    """The loss is not finite, and restarts with smaller learning rates did not help.

    Attributes:
        step: Where it happened.
        loss: NaN or an infinity.
        lr: The learning rate of that step.
    """

    default_code = "training-diverged"

    def __init__(self, *, step: int, loss: float, lr: float) -> None:
        super().__init__(
            f"training diverged: the loss is {loss} at step {step} with learning rate {lr:.3g}, "
            f"after {MAX_RESTARTS} restarts at half the rate; set a smaller learning rate, and "
            "check the data for extreme values"
        )
        self.step = step
        self.loss = loss
        self.lr = lr


def restart_event(step: int, loss: float, lr: float, resumed_at: int) -> TrainEvent:
    """The event of going back to step ``resumed_at`` because the loss is not finite."""
    return TrainEvent(
        code="training-restarted",
        message=f"loss {loss} at step {step}: back to step {resumed_at} at half the learning rate",
        data={
            "step": step,
            "loss": str(loss),
            "lr": lr if math.isfinite(lr) else str(lr),
            "resumed_at": resumed_at,
        },
    )
