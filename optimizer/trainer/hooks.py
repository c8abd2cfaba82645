"""What comes into a run from outside, and what it reports: progress, stop, clock, result."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, fx

from optimizer.bridge.features import Place
from optimizer.bridge.shrinking import CutForm
from optimizer.checkpoint import Checkpoint, ignore_fault
from optimizer.config import Quantity
from optimizer.h2spg import Choose, UnitLayout
from optimizer.trainer.incidents import TrainEvent
from optimizer.trainer.liveness import Alive, nobody_listens

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
S_contra = TypeVar("S_contra", contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands after a step.

    Attributes:
        phase: ``warm-up``, ``search``, ``hybrid`` or ``converged``.
        step: Steps done.
        total: Steps of the whole run; shrinks when a time budget compresses the schedule.
        loss: Of the last batch.
        accuracy: On the validation samples when last measured (0..1), if it can be.
        macs_ratio: Share of the multiply-accumulates that remains without the chosen units.
        measure: Name of what labels are compared by, if there are any.
        value: Its value when last measured.
    """

    phase: str
    step: int
    total: int
    loss: float
    accuracy: float | None
    macs_ratio: float
    measure: str | None = None
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Everything the loop calls; the defaults do nothing.

    Attributes:
        progress: Called after every step.
        event: Called for what belongs into the job's history.
        checkpoint: Called after a checkpoint was written.
        should_stop: Asked before every step.
        clock: Seconds, never running backwards.
        alive: Called often while there are no steps: in evaluations, for example.
        fault: Failpoints, see ``optimizer.checkpoint``; also ``train.step`` before every step.
    """

    progress: Callable[[Progress], None] = lambda _: None
    event: Callable[[TrainEvent], None] = lambda _: None
    checkpoint: Callable[[Checkpoint], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    alive: Alive = nobody_listens
    fault: Callable[[str], None] = ignore_fault


class SpaceBinding(Protocol[S_co]):
    """What the trainer asks of a bound search space; ``optimizer.bridge.binding`` is the real one.

    ``S_co`` is the solution type, which the trainer only passes on.
    """

    @property
    def operator_units(self) -> Tensor:
        """Bool (U,): the units that are whole operator structures."""

    @property
    def pool_of_unit(self) -> Tensor:
        """int64 (U,)."""

    def layout(self) -> UnitLayout:
        """The units on the module's tensors."""

    def chooser(self, target_ratio: float, quantity: Quantity) -> Choose:
        """The ``choose`` for a budget; refuses an unreachable one."""

    def remaining_ratio(self, removed_U: Tensor, quantity: Quantity) -> float:
        """What remains of the quantity (0..1)."""

    def solution(self, removed_U: Tensor) -> S_co:
        """The solution that removes these units."""

    def feature_names(self, module: fx.GraphModule, most: int) -> Sequence[str]:
        """Tensors inside of the whole module that can be compared with the original's."""

    def feature_places(
        self, names: Sequence[str], removed_U: Tensor, cut_U: Tensor | None = None
    ) -> Sequence[Place]:
        """What is left of them without the units that go, in a module without those cut out."""


class Cutter(Protocol[S_contra]):
    """The surgeon, as the trainer sees it; ``exporters.training_form`` is the real one."""

    def __call__(self, solution: S_contra, *, decided: bool) -> CutForm:
        """The model without what ``solution`` removes.

        Args:
            solution: What is removed.
            decided: Whether no more units will be chosen, so that masks are not needed.
        """


@dataclass(frozen=True, kw_only=True)
class TrainResult(Generic[S]):
    """Outcome of a run; the module holds the best weights, every removed unit exactly 0.

    Attributes:
        solution: What is removed.
        history: One entry per evaluation: step, phase, loss, accuracy, remaining (of the budget's
            quantity), macs (the share of them that remains), lr; and ``cut``
            where zeros were then cut out of the network that trains.
        steps: Steps that were made.
        best_step: When the weights were taken.
        best_accuracy: Theirs on the validation samples (0..1), if it can be measured.
        best_loss: Their loss there; None without validation samples.
        original_accuracy: Of the original model on the same samples.
        measure: Name of what labels are compared by (``measures``), an error for one.
        best_value: Its value with the best weights.
        original_value: Its value for the original model.
        restarts: How often a loss that was not finite sent the run back.
        renormalised: Convolutions that had a normalisation put behind them for training.
        seconds: Of training, over all attempts.
        threads: Of torch; part of what makes a CPU run repeatable bit for bit.
        device: What it ran on.
        ended: ``schedule`` after the last step, else why before: ``good-enough``, ``no-progress``.
        is_within_drop: Whether the best accuracy is within ``max_accuracy_drop`` of the original's;
            None where nothing was asked for.
        halvings: How often what is computed at once was halved for want of memory.
        processes: How many shared the samples of every step.
        used: What was trained with where the settings leave it open: ``loss`` of the labels (None
            without), share of ``distillation`` beside it, largest ``lr``, ``batch_size``,
            ``comparison``, and ``precision`` (None is that of the file).
    """

    solution: S
    history: tuple[Mapping[str, Any], ...]
    steps: int
    best_step: int
    best_accuracy: float | None
    best_loss: float | None
    original_accuracy: float | None
    restarts: int
    renormalised: int
    seconds: float
    threads: int
    device: str
    ended: str = "schedule"
    is_within_drop: bool | None = None
    halvings: int = 0
    measure: str | None = None
    best_value: float | None = None
    original_value: float | None = None
    processes: int = 1
    used: Mapping[str, Any] = field(default_factory=dict)
