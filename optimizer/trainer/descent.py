"""One step: the gradients of a batch, in parts if need be, and the optimizer's move along them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optimizer.trainer.clipping import clip
from optimizer.trainer.setting import Setting

MAX_OVERFLOWS = 24  # halvings of the loss scale within one step, which starts at 2 ** 16


@dataclass(frozen=True)
class Descended:
    """What became of a step.

    Attributes:
        loss: Of the batch.
        is_made: Whether the weights moved; not where the loss or the gradients are not finite.
    """

    loss: float
    is_made: bool


class Descent:
    """Makes the steps of a run."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._scaler = setting.precision.scaler

    def make(self, step: int, *, parts: int) -> Descended:
        """Make one step of the optimizer.

        A float16 gradient that overflows is computed again at half the scale of the loss: the step
        is the same, nothing is skipped.

        Args:
            step: Which batch.
            parts: Of the batch; see ``Setting.losses_at``.
        """
        for _ in range(MAX_OVERFLOWS):
            loss = self._gradients(step, parts)
            if not self._setting.processes.all(math.isfinite(loss)):
                return Descended(loss, is_made=False)
            if self._move():
                return Descended(loss, is_made=True)
        return Descended(math.inf, is_made=False)

    def _gradients(self, step: int, parts: int) -> float:
        self._setting.optimizer.zero_grad()
        total: Tensor | None = None
        for loss in self._setting.losses_at(step, parts=parts):
            scaled = loss if self._scaler is None else self._scaler.scale(loss)
            scaled.backward()  # type: ignore[no-untyped-call]
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        return float(total)  # waits for the device once per step, with the backward pass under way

    def _move(self) -> bool:
        optimizer, scaler = self._setting.optimizer, self._scaler
        if scaler is not None:
            scaler.unscale_(optimizer)
        limit = self._setting.config.clip_norm
        if limit is not None:
            clip(_gradients_of(self._setting.module.parameters()), limit)
        if scaler is None:
            optimizer.step()
            self._setting.processes.settle(self._setting.module)
            return True
        before = optimizer.steps_done
        scaler.step(optimizer)
        scaler.update()
        self._setting.processes.settle(self._setting.module)
        return optimizer.steps_done > before


def _gradients_of(parameters: Iterator[torch.nn.Parameter]) -> Sequence[Tensor]:
    return [one.grad for one in parameters if one.grad is not None]
