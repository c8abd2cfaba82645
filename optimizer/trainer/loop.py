"""The loop: one run from the original weights to a network whose removed units are exactly 0.

Progress, cancellation and clock come in as arguments (``hooks``); what a unit is, what it costs and
what may go is known to the binding. Everything that changes lies in the module, the optimizer and
``Standing``, and ``state`` writes all three down.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Generic

import torch

from optimizer.bridge.module import ImportedModule
from optimizer.checkpoint import Checkpoint
from optimizer.config import TrainConfig
from optimizer.h2spg import H2SPG
from optimizer.trainer.cutting import Cutting
from optimizer.trainer.data import ArrayData
from optimizer.trainer.descent import Descended, Descent
from optimizer.trainer.ending import is_within_drop
from optimizer.trainer.hooks import Cutter, Hooks, Progress, S, SpaceBinding, TrainResult
from optimizer.trainer.incidents import (
    LR_FACTOR,
    MAX_RESTARTS,
    OutOfMemoryError,
    Stopped,
    TrainEvent,
    TrainingDivergedError,
    can_be_halved,
    halved_event,
    is_out_of_memory,
    restart_event,
)
from optimizer.trainer.judging import Judge
from optimizer.trainer.plan import within_budget
from optimizer.trainer.preparing import prepare
from optimizer.trainer.process_group import current
from optimizer.trainer.processes import Processes
from optimizer.trainer.rates import learning_rate
from optimizer.trainer.setting import Setting
from optimizer.trainer.shared_checkpoints import SharedCheckpoints
from optimizer.trainer.soundness import Soundness
from optimizer.trainer.standing import Standing
from optimizer.trainer.state import Snapshot, averaged_in, capture, overwrite, restore

_EVALUATIONS = 20  # at most, after the arrival
_CALIBRATION = 5  # steps before a time budget is first acted upon
_REPLAN = 10  # steps between looks at the clock


def train(
    imported: ImportedModule,
    *,
    data: ArrayData,
    binding: SpaceBinding[S],
    config: TrainConfig,
    hooks: Hooks | None = None,
    checkpoints: Path | None = None,
    cutter: Cutter[S] | None = None,
    processes: Processes | None = None,
) -> TrainResult[S]:
    """Train ``imported`` in place until the budget is met and its accuracy has recovered.

    On the CPU the result is a function of the arguments and of the number of threads, bit for bit,
    whether or not the run was stopped and resumed in between (unless a time budget compresses it).

    In a process group every process calls this with the same arguments and gets the same result;
    see ``processes``. Only the first one's hooks are called and only its folder is used.

    Args:
        imported: The original network; a frozen copy of it is the teacher.
        data: Training samples and, if there are any, validation samples.
        binding: The search space, bound to ``imported``.
        config: Settings.
        hooks: Progress, events, cancellation, clock.
        checkpoints: Folder to write checkpoints to, and to resume from if there are any.
        cutter: Cuts what is zero out of the network while it trains; without it nothing is cut.
        processes: That share the samples of every step; those of the default group if None.

    Raises:
        TargetUnreachableError: The budget cannot be met; raised before the first step.
        InputError: Data or settings do not fit the model.
        Stopped: ``hooks.should_stop`` said so; a checkpoint has been written.
        TrainingDivergedError: The loss stayed NaN or infinite after two restarts.
        InsufficientStorageError: No room for a checkpoint.
        ProcessLostError: Another process has ended or does not answer.
        DisagreementError: The processes were not called with the same arguments.
    """
    processes = current() if processes is None else processes
    hooks = processes.hooks(hooks or Hooks())
    with processes.watched():
        setting = prepare(imported, data, binding, config, alive=hooks.alive, processes=processes)
        run = _Run(setting, binding, hooks, checkpoints, cutter)
        run.resume()
        run.begin()
        while not run.is_done:
            run.step()
        return run.result()


class _Run(Generic[S]):
    """A run in progress."""

    def __init__(
        self,
        setting: Setting,
        binding: SpaceBinding[S],
        hooks: Hooks,
        checkpoints: Path | None,
        cutter: Cutter[S] | None,
    ) -> None:
        self._setting = setting
        self._config = setting.config
        self._module = setting.module
        self._optimizer: H2SPG = setting.optimizer
        self._descent = Descent(setting)
        self._binding = binding
        self._hooks = hooks
        self._cutting = Cutting(setting, binding, cutter, hooks)
        self._store = None
        if checkpoints is not None:
            identity = setting.identity()
            self._store = SharedCheckpoints(
                checkpoints, setting.processes, identity=identity, fault=hooks.fault
            )
        self._soundness = Soundness(setting.module, self._cutting.names)
        self._standing = Standing()
        self._judge = Judge(setting, self._cutting)
        self._started = self._saved_at = hooks.clock()
        self._first_step = 0
        self._loss = math.nan
        self._remaining = self._macs_ratio = 1.0
        self._snapshot = self._take_down()

    @property
    def is_done(self) -> bool:
        """Whether the last step was made, or the run has ended before it."""
        return (
            self._standing.ended is not None
            or self._optimizer.steps_done >= self._optimizer.schedule.total
        )

    def resume(self) -> None:
        """Go on from the newest good checkpoint, if there is one."""
        if self._store is None:
            return
        found, rejected = self._store.load_newest()
        for entry in rejected:
            message = f"checkpoint {entry.path.name} is not used: {entry.reason}"
            self._hooks.event(TrainEvent(code=entry.code, message=message))
        if found is None:
            return
        self._put_back(Snapshot(step=found.step, tensors=found.tensors, values=found.values))
        self._first_step = found.step
        message = f"training goes on at step {found.step}"
        data = {"step": found.step}
        self._hooks.event(TrainEvent(code="training-resumed", message=message, data=data))

    def begin(self) -> None:
        """Say what was done to the module, once for all attempts."""
        done, started = self._setting.renormalised, self._setting.started
        if started is not None and not self._optimizer.steps_done:
            self._hooks.event(started.event())
        if done is not None and not self._optimizer.steps_done:
            data = {"inserted": len(done.inserted), "left": dict(done.left)}
            self._hooks.event(TrainEvent(code="renormalised", message=str(done), data=data))

    def step(self) -> None:
        """Make one step, and whatever is due after it."""
        step = self._optimizer.steps_done
        if self._hooks.should_stop():
            self._save()
            raise Stopped(step)
        self._hooks.fault("train.step")
        self._keep_to_budget(step)
        lr = self._set_learning_rate(step)
        made = self._descend(step)
        if made is None:
            return
        if not made.is_made:
            self._restart(step, made.loss, lr)
            return
        self._loss = made.loss
        self._judge.follow(step + 1)
        if self._optimizer.schedule.is_decision(step):
            self._note_remaining()
        done = step + 1
        if self._is_evaluation_due(done):
            if not self._evaluate(done, lr):
                return
            self._cut()
        self._report(step)
        if self._is_checkpoint_due(done):
            self._save_or_restart(done, lr)

    def result(self) -> TrainResult[S]:
        """Load the best weights and sum up."""
        standing, setting = self._standing, self._setting
        ended, exceeded = self._judge.outcome(standing)
        if exceeded is not None:
            self._hooks.event(exceeded)
        self._cutting.finish()
        if standing.best_weights is not None:
            overwrite(self._module, standing.best_weights)
        self._setting.running.eval()
        self._module.eval()
        best = standing.best
        return TrainResult(
            solution=self._binding.solution(self._optimizer.redundant),
            history=tuple(standing.history),
            steps=self._optimizer.steps_done,
            best_step=standing.best_step,
            best_accuracy=best.accuracy if best else None,
            best_loss=best.loss if best else None,
            original_accuracy=setting.original.accuracy if setting.original else None,
            restarts=standing.restarts,
            renormalised=len(setting.renormalised.inserted) if setting.renormalised else 0,
            seconds=self._elapsed(),
            threads=torch.get_num_threads(),
            device=str(setting.device),
            ended=ended,
            is_within_drop=is_within_drop(self._config, best, setting.original),
            halvings=standing.halvings,
            measure=best.measure if best else None,
            best_value=best.value if best else None,
            original_value=setting.original.value if setting.original else None,
            processes=setting.processes.size,
            used=setting.used(),
        )

    @property
    def _parts(self) -> int:
        """Parts that a batch is computed in."""
        return self._config.accumulate << self._standing.halvings

    def _descend(self, step: int) -> Descended | None:
        """Make a step of the optimizer; None where it did not fit and the run had to go back."""
        try:
            return self._descent.make(step, parts=self._parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._halve(step)  # out here, where the frames of the error hold no tensors any more
        return None

    def _halve(self, step: int) -> None:
        """A step did not fit: back to the snapshot, and in twice as many parts from there."""
        parts, batch_size = self._parts, self._setting.train.batch_size
        # of several processes the others are on their way through the step, so none can go back
        if not self._setting.processes.is_alone or not can_be_halved(
            halvings=self._standing.halvings,
            parts=parts,
            batch_size=batch_size,
            full_only=self._setting.full_only,
        ):
            raise OutOfMemoryError(step=step, samples=math.ceil(batch_size / parts))
        self._optimizer.zero_grad()
        if self._setting.device.type == "cuda":
            torch.cuda.empty_cache()
        self._go_back(restarts=self._standing.restarts, halvings=self._standing.halvings + 1)
        samples = math.ceil(batch_size / self._parts)
        self._hooks.event(halved_event(step, self._parts, samples, self._snapshot.step))

    def _set_learning_rate(self, step: int) -> float:
        factor = LR_FACTOR**self._standing.restarts
        lr = factor * learning_rate(self._config, step, self._optimizer.schedule.total)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _keep_to_budget(self, step: int) -> None:
        budget, made = self._config.time_budget, step - self._first_step
        if budget is None or made < _CALIBRATION or made % _REPLAN != _CALIBRATION:
            return
        before = self._optimizer.schedule
        per_step = (self._hooks.clock() - self._started) / made
        after = within_budget(
            before, step=step, elapsed=self._elapsed(), budget=budget, per_step=per_step
        )
        if after.total < before.total:
            self._optimizer.schedule = after
            message = f"{before.total} steps do not fit the time budget; {after.total} are planned"
            self._hooks.event(TrainEvent(code="schedule-compressed", message=message))

    def _restart(self, step: int, loss: float, lr: float) -> None:
        """A loss that is not finite: back to the snapshot at half the rate, then give up."""
        restarts = self._standing.restarts + 1
        if restarts > MAX_RESTARTS:
            precision = self._config.precision
            raise TrainingDivergedError(step=step, loss=loss, lr=lr, precision=precision)
        self._go_back(restarts=restarts, halvings=self._standing.halvings)
        self._hooks.event(restart_event(step, loss, lr, self._snapshot.step))

    def _go_back(self, *, restarts: int, halvings: int) -> None:
        """To the last snapshot; only these two and the time that has passed are kept."""
        seconds = self._elapsed()
        self._put_back(self._snapshot)
        self._started, self._first_step = self._hooks.clock(), self._snapshot.step
        self._standing.restarts, self._standing.halvings = restarts, halvings
        self._standing.seconds = seconds

    def _is_evaluation_due(self, done: int) -> bool:
        """At each arrival, then up to ``_EVALUATIONS`` times, and at the end."""
        schedule = self._optimizer.schedule
        if done in schedule.boundaries[1:] or done == schedule.total:
            return True
        since = done - schedule.arrival
        stride = max(
            self._setting.train.per_epoch, (schedule.total - schedule.arrival) // _EVALUATIONS, 1
        )
        return since > 0 and since % stride == 0

    def _evaluate(self, done: int, lr: float) -> bool:
        """Judge the network, and keep it if it is the best with all chosen units at 0.

        Returns:
            False where the run had to go back.
        """
        judged = self._judge.judge()
        if judged is None and not self._soundness.holds():
            self._restart(done, math.inf, lr)
            return False
        if judged is not None and not math.isfinite(judged.loss):
            self._restart(done, judged.loss, lr)
            return False
        figures = {"loss": self._loss, "remaining": self._remaining, "lr": lr}
        figures["macs"] = self._macs_ratio
        ended = self._judge.note(judged, self._standing, done, figures)
        if ended is not None:
            self._hooks.event(ended)
        return True

    def _cut(self) -> None:
        gained = self._cutting.follow()
        if gained is not None:
            self._standing.history[-1]["cut"] = dict(gained)

    def _note_remaining(self) -> None:
        removed_U = self._optimizer.redundant
        self._remaining = self._binding.remaining_ratio(removed_U, self._config.quantity)
        self._macs_ratio = self._binding.remaining_ratio(removed_U, "macs")
        self._cutting.tell_features()

    def _report(self, step: int) -> None:
        latest, schedule = self._standing.latest, self._optimizer.schedule
        self._hooks.progress(
            Progress(
                phase=str(schedule.phase(step)),
                step=step + 1,
                total=schedule.total,
                loss=self._loss,
                accuracy=latest.accuracy if latest else None,
                macs_ratio=self._macs_ratio,
                measure=latest.measure if latest else None,
                value=latest.value if latest else None,
            )
        )

    def _elapsed(self) -> float:
        return self._standing.seconds + self._hooks.clock() - self._started

    def _is_checkpoint_due(self, done: int) -> bool:
        age = self._hooks.clock() - self._saved_at
        return done % self._config.checkpoint_steps == 0 or age >= self._config.checkpoint_seconds

    def _save_or_restart(self, done: int, lr: float) -> None:
        """A finite loss may have led to weights that are not: these must not be gone back to."""
        if self._soundness.holds():
            self._save()
        else:
            self._restart(done, math.inf, lr)

    def _save(self) -> None:
        self._snapshot = self._take_down()
        self._saved_at = self._hooks.clock()
        if self._store is not None:
            snapshot = self._snapshot
            saved: Checkpoint = self._store.save(snapshot.step, snapshot.tensors, snapshot.values)
            self._hooks.checkpoint(saved)

    def _take_down(self) -> Snapshot:
        standing, average = replace(self._standing, seconds=self._elapsed()), self._judge.average
        taken = capture(
            self._module,
            self._optimizer,
            best=standing.best_weights,
            progress={
                "standing": standing.to_values(),
                "scale": self._setting.precision.state(),
                "averaged_steps": average.steps if average else 0,
            },
            averaged=average.tensors if average else None,
        )
        return self._cutting.whole(taken)

    def _put_back(self, snapshot: Snapshot) -> None:
        adopted = self._cutting.adopted(snapshot)
        best_weights, values = restore(adopted, self._module, self._optimizer)
        self._standing = Standing.from_values(values["standing"], best_weights)
        self._setting.precision.restore(values["scale"])
        if self._judge.average is not None:
            averaged = averaged_in(adopted)
            self._judge.average.restore(averaged, self._module, values["averaged_steps"])
        self._started = self._saved_at = self._hooks.clock()
        self._note_remaining()
