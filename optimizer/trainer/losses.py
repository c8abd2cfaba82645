"""What is minimised: task loss, distillation from the original model, and their mix.

Distillation needs no labels and works for any network. Which loss an output gets follows from what
the original model returns on real samples and from the labels, not from the names of its operators.

Shape letters: N samples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from optimizer.errors import InputError
from optimizer.trainer.choosing import TASKS, task_for
from optimizer.trainer.distances import distillation, mean_square, relative_error
from optimizer.trainer.features import Features
from optimizer.trainer.measures import Measure
from optimizer.trainer.outputs import OutputKind, is_classes, kind_of, scores
from optimizer.trainer.tasks import Classes, Task

__all__ = [
    "Objective",
    "OutputKind",
    "as_tuple",
    "distillation",
    "is_classes",
    "kind_of",
    "objective_for",
    "relative_error",
    "scores",
]

_NEEDS_TASK = ("mix", *(name for name in TASKS if name != "mse"))


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of a run.

    Attributes:
        kinds: Kind of each output of the model.
        distillation_weight: Share of distillation; the rest is the task's.
        temperature: Of the distillation of classes.
        as_values: Compare values also where the outputs are classes (loss ``mse``).
        task: What labels ask of the first output; None where they mean nothing.
        scales: Of each output over a whole batch, where parts of it are compared; see
            ``relative_error``.
        features: What is compared inside of the network, where outputs of the model are followed
            by such tensors.
        feature_weight: What their distance is multiplied by.
    """

    kinds: tuple[OutputKind, ...]
    distillation_weight: float
    temperature: float = 4.0
    as_values: bool = False
    task: Task | None = None
    features: Features | None = None
    feature_weight: float = 0.0
    scales: tuple[Tensor, ...] | None = None

    def for_parts(self, targets: Sequence[Sequence[Tensor]], labels: Tensor | None) -> "Objective":
        """The objective for parts of a batch: their losses by share of samples add up to its own.

        Except for features, whose errors are relative to what a part of the batch holds.

        Args:
            targets: For each part what the original model returns.
            labels: Of the whole batch.
        """
        task = self.task
        if task is not None and labels is not None:
            task = task.for_parts(labels)
        if self.distillation_weight == 0:
            return replace(self, task=task)
        outputs = (of_part[: len(self.kinds)] for of_part in targets)
        wholes = (
            torch.cat([one.reshape(-1) for one in each]) for each in zip(*outputs, strict=True)
        )
        scales = tuple(mean_square(whole.float()) for whole in wholes)
        return replace(self, task=task, scales=scales)

    def loss(
        self, outputs: Sequence[Tensor], teacher: Sequence[Tensor], labels: Tensor | None
    ) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            outputs: Of the module in training, features behind them if it returns some.
            teacher: Of the original model on the same samples, likewise.
            labels: Samples along axis 0, as the task takes them, where it has a share in the loss.
        """
        weight, count = self.distillation_weight, len(self.kinds)
        total = outputs[0].new_zeros(())
        if weight > 0:
            total = total + weight * self._distance(outputs[:count], teacher[:count])
        if self.features is not None and len(outputs) > count:
            distance = self.features.distance(outputs[count:], teacher[count:])
            total = total + self.feature_weight * distance
        if weight < 1 and labels is not None:
            assert self.task is not None
            total = total + (1 - weight) * self.task.loss(outputs[0], labels)
        return total

    @property
    def measure(self) -> Measure | None:
        """What ``tally`` counts; None where labels mean nothing."""
        return None if self.task is None else self.task.measure

    def tally(self, outputs: Sequence[Tensor], labels: Tensor | None) -> Tensor | None:
        """Both sums of the measure over a batch, float64 (2,); None without labels or task."""
        if labels is None or self.task is None:
            return None
        return self.task.tally(outputs[0], labels)

    def _distance(self, outputs: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        total = outputs[0].new_zeros(())
        scales = self.scales or (None,) * len(self.kinds)
        each = zip(outputs, teacher, self.kinds, scales, strict=True)
        for number, (output, target, kind, scale) in enumerate(each):
            if kind is OutputKind.OTHER:
                continue
            if number == 0 and self.task is not None and not self.as_values:
                total = total + self.task.distance(output, target, self.temperature)
            elif is_classes(kind) and not self.as_values:
                student, reference = scores(output, kind), scores(target, kind)
                total = total + distillation(student, reference, self.temperature)
            else:
                total = total + relative_error(output, target, scale)
        return total


def objective_for(
    loss: str,
    teacher_outputs: Sequence[Tensor],
    labels: Tensor | None,
    *,
    distillation_weight: float,
    temperature: float,
    label_smoothing: float,
    ignore_index: int = -100,
) -> Objective:
    """Choose the objective.

    1. ``auto``: the mix where there are labels and a task fits them (``choosing``), else
       distillation alone. ``mix`` insists on the task.
    2. Without labels nobody knows whether numbers are class scores or values, so they are compared
       as values: a softmax would not see a shift of all of them.
    3. The name of a task insists on it and leaves the teacher out. ``mse`` is that only for labels
       of the output's shape; without them, or beside class numbers, it distils by values.
    4. ``distillation`` needs no labels.

    Args:
        loss: As in ``TrainConfig``.
        teacher_outputs: Of the original model on real samples.
        labels: Labels of all training samples, or None.
        distillation_weight: Share of distillation in the mix.
        temperature: Of the distillation.
        label_smoothing: Of the cross-entropy.
        ignore_index: Label of positions that a token cross-entropy leaves out.

    Raises:
        InputError: No labels where they are needed, labels that are no classes of the output, or
            no output that anything can be learned from.
    """
    kinds = tuple(kind_of(output) for output in teacher_outputs)
    if all(kind is OutputKind.OTHER for kind in kinds):
        message = "the model has no floating-point output, so there is nothing to train towards"
        raise InputError(message, code="model-no-io")
    first, task = teacher_outputs[0], None
    for name in (loss if loss in TASKS else "auto", "auto" if loss == "mse" else ""):
        if labels is not None and task is None and name:
            task = task_for(
                name, first, labels, label_smoothing=label_smoothing, ignore_index=ignore_index
            )
    if loss in _NEEDS_TASK and task is None:
        raise InputError(_misfit(loss, first, labels), code="dataset-labels", param="loss")
    is_task_alone = task is not None and loss == task.name
    if not isinstance(task, Classes):
        kinds = tuple(OutputKind.VALUES if k is OutputKind.SCORES else k for k in kinds)
    weight = distillation_weight if task is not None and loss in ("auto", "mix") else 1.0
    return Objective(
        kinds=kinds,
        distillation_weight=0.0 if is_task_alone else weight,
        temperature=temperature,
        as_values=loss == "mse" and not is_task_alone,
        task=task,
    )


_FORMS = {
    "mix": "labels that fit the first output",
    "cross-entropy": "class numbers as labels and a first output of shape (samples, classes)",
    "token-cross-entropy": (
        "labels of whole numbers (samples, positions) and scores of classes at these positions"
    ),
}


def _misfit(loss: str, output: Tensor, labels: Tensor | None) -> str:
    """One line: what was needed, what is there, what to do."""
    needed = _FORMS.get(loss, "labels of the first output's shape")
    there = "there are none"
    if labels is not None:
        kind = "floats" if labels.is_floating_point() else "whole numbers"
        there = f"the labels are {kind} of shape {_shape(labels)}"
    return (
        f"loss '{loss}' needs {needed}; {there}, the first output's shape is {_shape(output)}; use "
        "'distillation', which needs no labels"
    )


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(["N", *map(str, tensor.shape[1:])]) + ")"


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a module returned, as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else outputs
