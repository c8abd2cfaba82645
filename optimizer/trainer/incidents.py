"""What can happen to a run: the errors, the events, and the rule for a loss that is not finite.

::

    SecateurError (graph_analysis)
    +-- TrainingDivergedError          NaN or Inf again after every restart
    +-- OutOfMemoryError               a step does not fit, however small its parts
    Stopped                            asked to stop; not an error
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from optimizer.errors import SecateurError

MAX_RESTARTS = 2
LR_FACTOR = 0.5  # of the learning rate, at each restart
MAX_HALVINGS = 3  # of what is computed at once
_FEWEST_SAMPLES = 2  # at once: the statistics of a batch need two


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

    def __init__(self, *, step: int, loss: float, lr: float, precision: str = "float32") -> None:
        wider = "use precision 'bfloat16', set" if precision == "float16" else "set"
        super().__init__(
            f"training diverged: the loss is {loss} at step {step} with learning rate {lr:.3g}, "
            f"after {MAX_RESTARTS} restarts at half the rate; {wider} a smaller learning rate, and "
            "check the data for extreme values"
        )
        self.step = step
        self.loss = loss
        self.lr = lr


class OutOfMemoryError(SecateurError):
    """A step needs more memory than there is, also in small parts."""

    default_code = "out-of-memory"

    def __init__(self, *, step: int, samples: int) -> None:
        super().__init__(
            f"step {step} needs more memory than there is, even with {samples} samples at once; "
            "use a smaller batch size, or recompute activations (checkpointing)"
        )
        self.step = step
        self.samples = samples


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator had nothing left; that of the CPU raises a plain RuntimeError."""
    texts = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


def can_be_halved(*, halvings: int, parts: int, batch_size: int, full_only: bool) -> bool:
    """Whether a batch can be computed in twice as many parts.

    Args:
        halvings: How often that was done.
        parts: In how many it is computed now.
        batch_size: Samples of the batch.
        full_only: Whether the module takes batches of one size only.
    """
    fits = batch_size >= 2 * parts * _FEWEST_SAMPLES
    return halvings < MAX_HALVINGS and fits and not full_only


def halved_event(step: int, parts: int, samples: int, resumed_at: int) -> TrainEvent:
    """The event of computing a batch in ``parts`` from step ``resumed_at`` on."""
    message = (
        f"out of memory at step {step}: back to step {resumed_at} with {samples} samples at once, "
        f"{parts} times per step"
    )
    data = {"step": step, "parts": parts, "samples": samples, "resumed_at": resumed_at}
    return TrainEvent(code="batch-halved", message=message, data=data)


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
