"""What is minimised: task loss, distillation from the original model, and their mix.

Distillation needs no labels and works for any network. Which loss an output gets follows from what
the original model returns on real samples, not from the names of its operators.

Shape letters: N samples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.errors import InputError

_TINY = 1e-12
_SUM_TOLERANCE = 1e-3


class OutputKind(StrEnum):
    """What the numbers of one output are."""

    SCORES = "scores"  # (N, K >= 2), any real numbers: with labels, a softmax makes classes of them
    PROBABILITIES = "probabilities"  # (N, K >= 2), not negative, rows sum to 1
    VALUES = "values"  # everything else
    OTHER = "other"  # no floats: nothing to learn from


def kind_of(output: Tensor) -> OutputKind:
    """The kind of an output, judged by what the original model returned."""
    if not output.is_floating_point():
        return OutputKind.OTHER
    if output.dim() != 2 or output.shape[1] < 2:
        return OutputKind.VALUES
    sums_to_one = bool(((output.sum(dim=1) - 1).abs() < _SUM_TOLERANCE).all())
    if sums_to_one and bool((output >= 0).all()):
        return OutputKind.PROBABILITIES
    return OutputKind.SCORES


def scores(output: Tensor, kind: OutputKind) -> Tensor:
    """Scores (N, K) whose softmax is the class distribution."""
    return output.clamp_min(_TINY).log() if kind is OutputKind.PROBABILITIES else output


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student), both softened by T; mean over samples (Hinton et al., 2015).

    Args:
        student: Scores (N, K).
        teacher: Scores (N, K).
        temperature: T.
    """
    return temperature**2 * functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def mean_square(teacher: Tensor) -> Tensor:
    """What ``relative_error`` divides by."""
    return teacher.square().mean().clamp_min(_TINY)


def relative_error(student: Tensor, teacher: Tensor, scale: Tensor | None = None) -> Tensor:
    """Mean square error divided by the teacher's mean square, so that the scale does not matter.

    Args:
        student: Any values.
        teacher: Of the same shape.
        scale: The mean square of a batch that this is a part of; None takes the teacher's here.
    """
    return functional.mse_loss(student, teacher) / (
        mean_square(teacher) if scale is None else scale
    )


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of a run.

    Attributes:
        kinds: Kind of each output of the model.
        distillation_weight: Share of distillation; the rest is the task's.
        temperature: Of the distillation of classes.
        label_smoothing: Of the cross-entropy.
        as_values: Compare values also where the outputs are classes (loss ``mse``).
        scales: Of each output over a whole batch, where parts of it are compared; see
            ``relative_error``.
    """

    kinds: tuple[OutputKind, ...]
    distillation_weight: float
    temperature: float = 4.0
    label_smoothing: float = 0.0
    as_values: bool = False
    scales: tuple[Tensor, ...] | None = None

    def for_parts(self, targets: Sequence[Sequence[Tensor]]) -> "Objective":
        """The objective for parts of a batch: their losses by share of samples add up to its own.

        Args:
            targets: For each part what the original model returns.
        """
        if self.distillation_weight == 0:
            return self
        wholes = (
            torch.cat([one.reshape(-1) for one in each]) for each in zip(*targets, strict=True)
        )
        return replace(self, scales=tuple(mean_square(whole.float()) for whole in wholes))

    def loss(
        self, outputs: Sequence[Tensor], teacher: Sequence[Tensor], labels: Tensor | None
    ) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            outputs: Of the module in training.
            teacher: Of the original model on the same samples.
            labels: int64 (N,) where the task has a share in the loss.
        """
        weight = self.distillation_weight
        total = outputs[0].new_zeros(())
        if weight > 0:
            total = total + weight * self._distance(outputs, teacher)
        if weight < 1 and labels is not None:
            task = functional.cross_entropy(
                scores(outputs[0], self.kinds[0]), labels, label_smoothing=self.label_smoothing
            )
            total = total + (1 - weight) * task
        return total

    def num_correct(self, outputs: Sequence[Tensor], labels: Tensor | None) -> Tensor | None:
        """How many samples have their largest score at their label; None without classes."""
        if labels is None or not is_classes(self.kinds[0]):
            return None
        return (outputs[0].argmax(dim=1) == labels).sum()

    def _distance(self, outputs: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        total = outputs[0].new_zeros(())
        scales = self.scales or (None,) * len(self.kinds)
        for output, target, kind, scale in zip(outputs, teacher, self.kinds, scales, strict=True):
            if kind is OutputKind.OTHER:
                continue
            if is_classes(kind) and not self.as_values:
                student, reference = scores(output, kind), scores(target, kind)
                total = total + distillation(student, reference, self.temperature)
            else:
                total = total + relative_error(output, target, scale)
        return total


def is_classes(kind: OutputKind) -> bool:
    """Whether an output tells classes apart."""
    return kind in (OutputKind.SCORES, OutputKind.PROBABILITIES)


def objective_for(
    loss: str,
    teacher_outputs: Sequence[Tensor],
    labels: Tensor | None,
    *,
    distillation_weight: float,
    temperature: float,
    label_smoothing: float,
) -> Objective:
    """Choose the objective.

    1. ``auto``: the mix where there are labels and the first output tells classes apart, else
       distillation alone.
    2. Without labels nobody knows whether numbers are class scores or values, so they are compared
       as values: a softmax would not see a shift of all of them.
    3. ``mix`` and ``cross-entropy`` insist on both; ``distillation`` and ``mse`` need neither.

    Args:
        loss: As in ``TrainConfig``.
        teacher_outputs: Of the original model on real samples.
        labels: Labels of all training samples, or None.
        distillation_weight: Share of distillation in the mix.
        temperature: Of the distillation.
        label_smoothing: Of the cross-entropy.

    Raises:
        InputError: No labels where they are needed, labels that are no classes of the output, or
            no output that anything can be learned from.
    """
    kinds = tuple(kind_of(output) for output in teacher_outputs)
    if all(kind is OutputKind.OTHER for kind in kinds):
        message = "the model has no floating-point output, so there is nothing to train towards"
        raise InputError(message, code="model-no-io")
    has_task = labels is not None and is_classes(kinds[0])
    if not has_task:
        kinds = tuple(OutputKind.VALUES if k is OutputKind.SCORES else k for k in kinds)
    if loss in ("mix", "cross-entropy") and not has_task:
        message = (
            f"loss '{loss}' needs labels and a first output of shape (samples, classes); use "
            "'distillation', which needs neither"
        )
        raise InputError(message, code="dataset-labels", param="loss")
    if labels is not None and has_task:
        _check_labels(labels, num_classes=teacher_outputs[0].shape[1])
    weights = {"cross-entropy": 0.0, "distillation": 1.0, "mse": 1.0}
    weight = weights.get(loss, distillation_weight if has_task else 1.0)
    return Objective(
        kinds=kinds,
        distillation_weight=weight,
        temperature=temperature,
        label_smoothing=label_smoothing,
        as_values=loss == "mse",
    )


def _check_labels(labels: Tensor, *, num_classes: int) -> None:
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero().flatten()
    if len(wrong):
        row = int(wrong[0])
        message = (
            f"label {int(labels[row])} in row {row} is not a class: the model tells "
            f"{num_classes} apart, 0 to {num_classes - 1}"
        )
        raise InputError(message, code="dataset-labels", param=str(row))


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a module returned, as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else outputs
