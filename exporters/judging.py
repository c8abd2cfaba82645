"""How well a model file meets labels, where those are not one class number per sample.

The measures are those that training reports, counted anew in ONNX Runtime on the file that is
handed out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.measure import runs
from graph_analysis.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What is compared, and how.

    Attributes:
        measure: ``accuracy`` or ``token-accuracy`` (share of right choices), ``f1`` (of all labels
            of all samples together), ``rmse`` or ``mae`` (errors, in the labels' own unit).
        axis: Of the classes in the first output, for accuracies.
        ignored: Label that an accuracy leaves out.
        threshold: Above it a label counts as found, for ``f1``.
    """

    measure: str
    axis: int = -1
    ignored: int | None = None
    threshold: float = 0.0

    @property
    def is_accuracy(self) -> bool:
        """Whether the figure is a share of right choices (0..1)."""
        return self.measure.endswith("accuracy")


def measured(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    labels: Array,
    judge: Judge,
    *,
    batch_size: int = 64,
    threads: int = 1,
    alive: Callable[[], None] | None = None,
) -> float | None:
    """The measure over all samples, in ONNX Runtime; None where there is nothing to count.

    Args:
        model: Judged by its first output.
        inputs: As :func:`exporters.measure.accuracy` takes them.
        labels: One per sample along axis 0.
        judge: What is compared.
        batch_size: Samples per run; a model with a fixed batch axis runs at that.
        threads: Given to ONNX Runtime.
        alive: Called after every run.

    Raises:
        InputError: Inputs or labels do not fit the model.
    """
    first = model.graph.output[0].name
    counted = total = 0.0
    for outputs, start, size in runs(model, inputs, batch_size=batch_size, threads=threads):
        given = outputs[first][:size]
        sums = _sums(given, _fitting(labels[start : start + size], given, judge), judge)
        counted, total = counted + sums[0], total + sums[1]
        if alive is not None:
            alive()
    if not total:
        return None
    return sqrt(counted / total) if judge.measure == "rmse" else counted / total


def _fitting(labels: Array, given: Array, judge: Judge) -> Array:
    """The labels of a batch in the shape of what they are compared with."""
    shape = list(given.shape)
    if judge.is_accuracy:
        del shape[judge.axis]
    if labels.size != int(np.prod(shape)):
        message = (
            f"the first output of a sample has the shape {list(given.shape[1:])}, its labels "
            f"{list(labels.shape[1:])}"
        )
        raise InputError(message, code="dataset-shape-mismatch", param="labels")
    return labels.reshape(shape)


def _sums(given: Array, labels: Array, judge: Judge) -> tuple[float, float]:
    if judge.is_accuracy:
        counts = np.ones(labels.shape, bool) if judge.ignored is None else labels != judge.ignored
        right = (given.argmax(axis=judge.axis) == labels) & counts
        return float(right.sum()), float(counts.sum())
    if judge.measure == "f1":
        found, wanted = given > judge.threshold, labels > 0.5
        return 2.0 * float((found & wanted).sum()), float(found.sum() + wanted.sum())
    error = given.astype(np.float64) - labels
    total = np.abs(error).sum() if judge.measure == "mae" else np.square(error).sum()
    return float(total), float(error.size)
