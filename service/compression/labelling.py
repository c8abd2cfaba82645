"""What the labels of a job are: class numbers, another task's, or nothing that can be used."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from exporters.comparison import Outputs
from exporters.judging import Judge
from graph_analysis.errors import InputError
from optimizer.trainer.choosing import TASKS
from optimizer.trainer.losses import objective_for
from optimizer.trainer.measures import ACCURACY
from optimizer.trainer.outputs import OutputKind
from optimizer.trainer.tasks import Classes, Labels, Task, Tokens
from service.compression.reporting import Report, say
from service.compression.subject import Subject
from service.datasets import ModelInterface, check_dataset
from service.errors import DatasetError

_NEEDS_LABELS = ("mix", *(name for name in TASKS if name != "mse"))  # ``mse`` can do without


@dataclass(frozen=True, kw_only=True)
class LabelUse:
    """What is done with labels; JSON-compatible through ``to_values``.

    Attributes:
        classes: How many there are, where labels are class numbers.
        judge: How outputs are compared with labels; None where labels are not used.
    """

    classes: int | None = None
    judge: Judge | None = None

    def to_values(self) -> dict[str, Any]:
        """As JSON-compatible values."""
        return {"classes": self.classes, "judge": self.judge and asdict(self.judge)}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "LabelUse":
        """Put together again what ``to_values`` took apart."""
        judge = values["judge"]
        return cls(classes=values["classes"], judge=Judge(**judge) if judge else None)

    def labels(self, given: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
        """Labels as training takes them; None where they are not used."""
        if given is None or self.judge is None:
            return None
        return given.astype(np.int64) if self.classes is not None else given


def check_labels(subject: Subject, outputs: Outputs, report: Report) -> LabelUse:
    """Everything about labels, and about how many samples there are.

    Args:
        subject: Its inputs have been checked.
        outputs: What the original returns for samples of the training split.
        report: Told where labels are not used.

    Raises:
        DatasetError: They do not fit the model, or the loss needs some.
        InputError: A measure is asked for that they cannot give.
    """
    recipe, interface = subject.recipe, subject.interface
    classes = _classes(subject, outputs)
    fixed = subject.fixed_batch
    check_dataset(
        subject.dataset,
        ModelInterface(inputs=interface.inputs, classes=classes),
        batch_size=fixed or recipe.batch_size,
        needs_labels=recipe.loss in _NEEDS_LABELS or recipe.start == "scratch",
    )
    use = _use(subject, outputs, classes)
    if recipe.start == "scratch" and use.judge is None:
        message = (
            "start 'scratch' needs labels that fit the model's first output; use start "
            "'pretrained', which needs none"
        )
        raise DatasetError(message, code="dataset-labels", param="y_train")
    if subject.dataset.train.labels is not None and use.judge is None:
        message = (
            "labels are not used: their type and shape fit no task for the model's first output; "
            "the original model is the teacher"
        )
        say(report, "labels-not-used", message)
    _check_gate(subject, use)
    return use


def _check_gate(subject: Subject, use: LabelUse) -> None:
    if subject.recipe.max_accuracy_drop is None:
        return
    if subject.evaluated is None or use.judge is None or not use.judge.is_accuracy:
        message = (
            "max_accuracy_drop needs a classifier and labels to measure it on: "
            "add x_test and y_test (or x_val and y_val) to the data set"
        )
        raise InputError(message, code="dataset-labels", param="max_accuracy_drop")


def _use(subject: Subject, outputs: Outputs, classes: int | None) -> LabelUse:
    """The task of the training labels, tried on those of the other splits as well."""
    first = outputs.get(subject.model.graph.output[0].name)
    if subject.dataset.train.labels is None:  # others may be there to measure by
        judge = None if classes is None else Judge(measure=ACCURACY.name, axis=1)
        return LabelUse(classes=classes, judge=judge)
    task: Task | None = None
    for name, split in subject.dataset.splits.items():
        if split.labels is None or (name != "train" and task is None):
            continue
        labels = _tensor(split.labels.astype(np.int64) if classes is not None else split.labels)
        try:
            wanted = subject.recipe.loss if task is None else task.name
            found = _task(wanted, first, labels, subject.recipe.ignore_index)
        except InputError as error:
            message = f"'y_{name}': {error}"
            raise DatasetError(message, code="dataset-labels", param=f"y_{name}") from error
        if task is not None and (found is None or found.name != task.name):
            message = f"'y_{name}' does not have the form of 'y_train'"
            raise DatasetError(message, code="dataset-labels", param=f"y_{name}")
        task = task or found
    return LabelUse(classes=classes, judge=_judge(task))


def _task(
    loss: str, first: npt.NDArray[Any] | None, labels: torch.Tensor, ignored: int
) -> Task | None:
    """The task of labels, as training will choose it."""
    if first is None or first.dtype.kind != "f":
        if loss in _NEEDS_LABELS:
            message = f"loss '{loss}' needs a first output of floats; use 'distillation'"
            raise InputError(message, code="dataset-labels", param="loss")
        return None
    objective = objective_for(
        loss,
        [_tensor(first)],
        labels,
        distillation_weight=0.5,
        temperature=1.0,
        label_smoothing=0.0,
        ignore_index=ignored,
    )
    return objective.task


def _tensor(values: npt.NDArray[Any]) -> torch.Tensor:
    dtype = np.float32 if values.dtype.kind == "f" else np.int64
    return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))


def _judge(task: Task | None) -> Judge | None:
    if task is None:
        return None
    name = task.measure.name
    if isinstance(task, Classes):
        return Judge(measure=name, axis=1)
    if isinstance(task, Tokens):
        return Judge(measure=name, axis=task.axis, ignored=task.ignore_index)
    if isinstance(task, Labels):
        threshold = 0.5 if task.kind is OutputKind.PROBABILITIES else 0.0
        return Judge(measure=name, threshold=threshold)
    return Judge(measure=name)


def _classes(subject: Subject, outputs: Outputs) -> int | None:
    """Number of classes, if the first output tells some apart and labels are meant as such.

    What is meant as class numbers is then checked as such. Fractions and several numbers per sample
    are targets of something else, unless they are one-hot, which is a mistake that the check
    explains where nobody asked for ``bce``.
    """
    first = outputs.get(subject.model.graph.output[0].name)
    if first is None or first.dtype.kind != "f" or first.ndim != 2 or first.shape[1] < 2:
        return None
    labels, loss, classes = subject.dataset.train.labels, subject.recipe.loss, int(first.shape[1])
    if labels is None:
        return classes
    if labels.ndim == 2 and labels.shape[1] == classes:
        is_one_hot = bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
        return classes if is_one_hot and loss not in ("bce", "mse", "l1", "huber") else None
    if labels.ndim != 1:
        is_column = labels.ndim == 2 and labels.shape[1] == 1 and labels.dtype.kind in "iub"
        return classes if is_column else None
    is_whole = labels.dtype.kind != "f" or bool((labels == np.floor(labels)).all())
    return classes if is_whole else None
