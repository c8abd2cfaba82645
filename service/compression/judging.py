"""A model file against the labelled samples of a job, in ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import onnx

from exporters.judging import measured
from exporters.measure import accuracy
from service.compression.labelling import LabelUse
from service.compression.machine import num_cpus
from service.compression.subject import Subject


def judged(
    subject: Subject, model: onnx.ModelProto, use: LabelUse, *, alive: Callable[[], None]
) -> dict[str, Any]:
    """``measure`` (its name), its ``value``, and ``accuracy`` where the value is one.

    All None where there is nothing to measure by.

    Args:
        subject: Whose evaluated split it is.
        model: The original, or what was made of it.
        use: What the labels are.
        alive: Called after every run.
    """
    judge, evaluated = use.judge, subject.evaluated
    if judge is None or evaluated is None:
        return {"measure": None, "value": None, "accuracy": None}
    labels = use.labels(evaluated[1].labels)
    assert labels is not None
    inputs = subject.arrays(evaluated[1])
    if use.classes is not None:
        value: float | None = accuracy(model, inputs, labels, threads=num_cpus(), alive=alive)
    else:
        value = measured(model, inputs, labels, judge, threads=num_cpus(), alive=alive)
    found = value if judge.is_accuracy else None
    return {"measure": judge.measure, "value": value, "accuracy": found}
