"""Evaluations of a run: what is written down, what is kept, and whether the run is over."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from optimizer.trainer.averaging import MovingAverage
from optimizer.trainer.cutting import Cutting
from optimizer.trainer.ending import SCHEDULE, ended_event, exceeded_event, reason_to_end
from optimizer.trainer.evaluation import Evaluation
from optimizer.trainer.hooks import S
from optimizer.trainer.incidents import TrainEvent
from optimizer.trainer.setting import Setting
from optimizer.trainer.standing import Standing


class Judge:
    """Evaluates the module of a setting, and its moving average beside it.

    Attributes:
        average: Of the weights after the arrival, where the settings want one.
    """

    def __init__(self, setting: Setting, cutting: Cutting[S]) -> None:
        """Judge what ``cutting`` gives the form of; the average takes it too."""
        self._setting = setting
        self._weights: Callable[[], dict[str, Tensor]] = cutting.weights
        decay = setting.config.ema_decay
        self.average = None if decay is None else MovingAverage(decay, cutting.names)
        if self.average is not None:
            cutting.alongside.append(self.average.tensors)

    def follow(self, done: int) -> None:
        """After every step: let the average follow once the chosen units are at 0."""
        if self.average is not None and done >= self._setting.optimizer.schedule.arrival:
            self.average.follow(self._setting.module)

    def judge(self) -> Evaluation | None:
        """The module as it stands."""
        return self._setting.evaluate()

    def note(
        self,
        judged: Evaluation | None,
        standing: Standing,
        done: int,
        figures: Mapping[str, Any],
    ) -> TrainEvent | None:
        """Write ``judged`` down and keep the module if it is the best with all units at 0.

        Args:
            judged: What ``judge`` found, with a finite loss.
            standing: Changed in place.
            done: Steps done.
            figures: For the history: ``loss`` (used without validation samples), ``remaining``,
                ``lr``.

        Returns:
            The event of ending here, if the run does.
        """
        standing.latest = judged
        schedule = self._setting.optimizer.schedule
        entry = {"step": done, "phase": str(schedule.phase(done - 1)), **figures}
        entry |= dict.fromkeys(("accuracy", "measure", "value"))
        if judged is not None:
            entry |= {"loss": judged.loss, "accuracy": judged.accuracy}
            entry |= {"measure": judged.measure, "value": judged.value}
        standing.history.append(entry)
        if done < schedule.arrival:
            return None
        is_better = standing.offer(judged, done, self._weights)
        is_better = self._offer_average(standing, done) or is_better
        standing.without_progress = 0 if is_better else standing.without_progress + 1
        reason = reason_to_end(self._setting.config, standing, self._setting.original)
        if reason is None or done >= schedule.total:
            return None
        standing.ended = reason
        return ended_event(reason, done, schedule.total, standing)

    def outcome(self, standing: Standing) -> tuple[str, TrainEvent | None]:
        """How the run ended, and the event of a result less accurate than was asked for."""
        setting = self._setting
        exceeded = exceeded_event(setting.config, standing.best, setting.original)
        return standing.ended or SCHEDULE, exceeded

    def _offer_average(self, standing: Standing, done: int) -> bool:
        """Judge the average too; without validation samples it is taken, since it was asked for."""
        if self.average is None or not self.average.steps:
            return False
        with self.average.in_place_of(self._setting.module, self._setting.optimizer):
            judged = self._setting.evaluate()
            if judged is not None:
                if not math.isfinite(judged.loss):
                    return False
                figures = {"averaged_loss": judged.loss, "averaged_accuracy": judged.accuracy}
                standing.history[-1] |= figures
            return standing.offer(judged, done, self._weights)
