"""What labels ask of the first output: loss, distance to the teacher and measure of each task.

The rules of which task fits which labels stand in ``choosing``.

Shape letters: N samples, K classes, P positions (all axes but samples and classes), L numbers that
are labels of their own.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.trainer.distances import distillation, distillation_of_each
from optimizer.trainer.measures import ACCURACY, F1, MAE, RMSE, TOKEN_ACCURACY, Measure
from optimizer.trainer.outputs import OutputKind, scores, scores_of_each


class Task(ABC):
    """One task: how outputs are compared with labels, and with the teacher's outputs."""

    name: str  # as in ``TrainConfig.loss``
    mixes_labels: ClassVar[bool] = True  # whether labels of two samples can be mixed
    ignores_geometry: ClassVar[bool] = False  # whether labels stay right when an image is moved

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """What says how good outputs are."""

    @abstractmethod
    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""

    @abstractmethod
    def distance(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """How far the output is from the teacher's, a scalar."""

    @abstractmethod
    def tally(self, output: Tensor, labels: Tensor) -> Tensor:
        """Both sums of the measure over a batch: float64 (2,)."""

    def for_parts(self, labels: Tensor) -> "Task":
        """The task for parts of a batch with ``labels``: losses by share of samples add up."""
        del labels
        return self

    def soft(self, labels: Tensor) -> Tensor:
        """Labels as numbers that can be mixed: float, samples along axis 0."""
        return labels.float()


@dataclass(frozen=True, kw_only=True)
class Classes(Task):
    """Cross-entropy of scores (N, K) with class numbers (N,), or with shares of classes (N, K).

    Attributes:
        kind: Scores or probabilities.
        num_classes: K.
        label_smoothing: Of the cross-entropy.
    """

    kind: OutputKind
    num_classes: int
    label_smoothing: float = 0.0
    name: str = "cross-entropy"
    ignores_geometry: ClassVar[bool] = True

    @property
    def measure(self) -> Measure:
        """Share of samples put into their class."""
        return ACCURACY

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean over samples."""
        given = scores(output, self.kind)
        wanted = labels.to(given.dtype) if labels.is_floating_point() else labels
        return functional.cross_entropy(given, wanted, label_smoothing=self.label_smoothing)

    def distance(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Distillation of class scores."""
        student, reference = scores(output, self.kind), scores(teacher, self.kind)
        return distillation(student, reference, temperature)

    def tally(self, output: Tensor, labels: Tensor) -> Tensor:
        """Right choices, and samples."""
        return _sums((output.argmax(dim=1) == labels).sum(), len(labels))

    def soft(self, labels: Tensor) -> Tensor:
        """Shares of classes (N, K)."""
        return functional.one_hot(labels, self.num_classes).float()


@dataclass(frozen=True, kw_only=True)
class Tokens(Task):
    """Cross-entropy at every position: tokens of a text, pixels of a segmentation.

    Scores are (N, T, K), (N, K, T) or (N, K, H, W), labels (N, T) or (N, H, W). Positions with the
    label ``ignore_index`` count nowhere: not in the loss, the distillation or the measure.

    Attributes:
        kind: Scores or probabilities.
        axis: Of the classes.
        label_smoothing: Of the cross-entropy.
        ignore_index: Label of positions that are left out.
        counted: Positions that count per sample, in a batch that others are parts of; None takes
            what counts in the batch at hand.
    """

    kind: OutputKind
    axis: int
    label_smoothing: float = 0.0
    ignore_index: int = -100
    counted: Tensor | None = None
    name: str = "token-cross-entropy"
    mixes_labels: ClassVar[bool] = False

    @property
    def measure(self) -> Measure:
        """Share of positions put into their class."""
        return TOKEN_ACCURACY

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean over positions that count; 0 where none does."""
        total = functional.cross_entropy(
            self._rows(output),
            labels.reshape(-1),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        if self.counted is not None:
            return total / (self.counted * len(labels))
        return total / (labels != self.ignore_index).sum().clamp_min(1)

    def for_parts(self, labels: Tensor) -> "Tokens":
        """Every position that counts has the same share, whichever part it is in."""
        counted = (labels != self.ignore_index).sum().clamp_min(1) / len(labels)
        return replace(self, counted=counted)

    def distance(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Distillation of class scores, mean over all positions."""
        return distillation(self._rows(output), self._rows(teacher), temperature)

    def tally(self, output: Tensor, labels: Tensor) -> Tensor:
        """Right choices, and positions that count."""
        counts = labels != self.ignore_index
        right = (output.argmax(dim=self.axis) == labels) & counts
        return _sums(right.sum(), counts.sum())

    def _rows(self, output: Tensor) -> Tensor:
        """Scores (N * P, K)."""
        last = scores(output, self.kind).movedim(self.axis, -1)
        return last.reshape(-1, last.shape[-1])


@dataclass(frozen=True, kw_only=True)
class Labels(Task):
    """Binary cross-entropy of every number by itself with a label of 0..1; mean over all.

    Attributes:
        kind: Scores, or probabilities where the original's outputs lie in 0..1.
    """

    kind: OutputKind
    name: str = "bce"
    ignores_geometry: ClassVar[bool] = True

    @property
    def measure(self) -> Measure:
        """Of what was found and what there was to find."""
        return F1

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean over samples and labels."""
        given = scores_of_each(output, self.kind)
        wanted = labels.reshape(output.shape).to(given.dtype)
        return functional.binary_cross_entropy_with_logits(given, wanted)

    def distance(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Distillation of every label by itself."""
        student, reference = (scores_of_each(each, self.kind) for each in (output, teacher))
        return distillation_of_each(student, reference, temperature)

    def tally(self, output: Tensor, labels: Tensor) -> Tensor:
        """Twice the labels found, and labels found and given together."""
        limit = 0.5 if self.kind is OutputKind.PROBABILITIES else 0.0
        found, given = output > limit, labels.reshape(output.shape) > 0.5
        return _sums(2 * (found & given).sum(), found.sum() + given.sum())


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """Errors of numbers, measured in units of the labels' spread.

    So neither the learning rate nor the balance with the distillation depends on the unit that
    somebody chose for the labels, and Huber's bend lies at one standard deviation.

    Attributes:
        name: ``mse``, ``l1`` or ``huber``.
        spread: Standard deviation of the training labels.
    """

    name: str
    spread: float

    @property
    def measure(self) -> Measure:
        """In the labels' own unit."""
        return MAE if self.name == "l1" else RMSE

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean over all numbers."""
        return self._error(output, labels.reshape(output.shape))

    def distance(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:  # noqa: ARG002
        """The same error against the teacher."""
        return self._error(output, teacher)

    def tally(self, output: Tensor, labels: Tensor) -> Tensor:
        """Sum of the errors, and how many there are."""
        error = output.double() - labels.reshape(output.shape)
        total = error.abs().sum() if self.name == "l1" else error.square().sum()
        return _sums(total, output.numel())

    def _error(self, output: Tensor, wanted: Tensor) -> Tensor:
        given, wanted = output / self.spread, wanted.to(output.dtype) / self.spread
        if self.name == "l1":
            return functional.l1_loss(given, wanted)
        if self.name == "huber":
            return functional.huber_loss(given, wanted)
        return functional.mse_loss(given, wanted)


def _sums(counted: Tensor, of: Tensor | int) -> Tensor:
    total = of if isinstance(of, Tensor) else counted.new_full((), of)
    return torch.stack([counted.double(), total.double()])
