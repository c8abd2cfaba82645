"""Stage ``prepare``: everything that can be refused is refused here, before anything is trained."""

import json

import numpy as np

from exporters.measure import accuracy
from exporters.sessions import OFF, Feeds, open_session
from exporters.sessions import run as run_session
from graph_analysis.errors import InputError, ModelError
from graph_analysis.search_space import GroupKind
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from service.compression.agreement import SAMPLES, check_import
from service.compression.machine import num_cpus
from service.compression.reporting import Phases, Report, say
from service.compression.run_directory import RunDirectory
from service.compression.subject import Subject, open_subject
from service.datasets import ModelInterface, check_dataset
from service.errors import DatasetError
from service.recipe import Recipe

_PHASES = ("reading", "importing", "checking data", "comparing", "search space", "baseline")
_NEEDS_LABELS = ("mix", "cross-entropy")


def prepare(run: RunDirectory, recipe: Recipe, *, report: Report) -> None:
    """Check model, data and target against each other; leave ``space.json``, ``baseline.json``.

    Raises:
        ModelError: The model cannot be used or trained.
        DatasetError: The data does not fit it.
        InputError: A setting does not fit them.
        TargetUnreachableError: The budget cannot be met.
    """
    phases = Phases(report, "prepare", _PHASES)
    phases.begin("reading")
    subject = open_subject(run, recipe)
    phases.begin("importing")
    imported = import_model(subject.analysis.maskable())
    phases.begin("checking data")
    classes = _check_data(subject, report)
    phases.begin("comparing")
    check_import(imported, subject.model, _some(subject), recipe.seed)
    phases.begin("search space")
    binding = bind(subject.analysis, imported)
    _check_anything_can_go(subject)
    binding.chooser(recipe.target[1], recipe.target[0])
    run.space.write_text(subject.analysis.space.to_json())
    _describe_space(subject, report)
    phases.begin("baseline")
    run.baseline.write_text(json.dumps(_baseline(subject, classes)))
    phases.end()


def _some(subject: Subject) -> Feeds:
    return subject.samples(subject.dataset.train, SAMPLES)


def _check_data(subject: Subject, report: Report) -> int | None:
    """Everything about the data; the number of classes if the labels are class numbers."""
    recipe, interface = subject.recipe, subject.interface
    warnings = check_dataset(subject.dataset, interface)
    for warning in warnings:
        say(report, warning.code, warning.message, {"param": warning.param})
    classes = _classes(subject)
    fixed = subject.fixed_batch
    if fixed is not None and fixed != recipe.batch_size:
        message = f"the model fixes its batch size at {fixed}, so training uses that"
        say(report, "batch-size-fixed", message, {"batch_size": fixed})
    check_dataset(
        subject.dataset,
        ModelInterface(inputs=interface.inputs, classes=classes),
        batch_size=fixed or recipe.batch_size,
        needs_labels=recipe.loss in _NEEDS_LABELS,
    )
    has_labels = subject.dataset.train.labels is not None
    if has_labels and classes is None:
        message = (
            "the first output is not one score per class, so labels are not used: "
            "the original model is the teacher"
        )
        say(report, "labels-not-used", message)
    if recipe.max_accuracy_drop is not None and (classes is None or subject.evaluated is None):
        message = (
            "max_accuracy_drop needs a classifier and labels to measure it on: "
            "add x_test and y_test (or x_val and y_val) to the data set"
        )
        raise InputError(message, code="dataset-labels", param="max_accuracy_drop")
    return classes


def _classes(subject: Subject) -> int | None:
    """Number of classes, from what the original returns for real samples."""
    feeds = _some(subject)
    try:
        outputs = run_session(open_session(subject.model, level=OFF), feeds)
    except Exception as error:
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
        message = f"ONNX Runtime does not run the model on samples of the data set ({shapes})"
        raise DatasetError(message, code="dataset-shape-mismatch", param="x_train") from error
    name = subject.model.graph.output[0].name
    first = outputs.get(name)
    if first is None or first.dtype.kind != "f" or first.ndim != 2:
        return None
    if not np.isfinite(first).all():
        message = f"output '{name}' of the original model is not finite on samples of the data set"
        raise ModelError(message, code="model-non-finite-weights", param=name)
    return int(first.shape[1]) if first.shape[1] > 1 else None


def _check_anything_can_go(subject: Subject) -> None:
    if not subject.analysis.space.groups:
        reasons = sorted({entry.reason for entry in subject.analysis.space.frozen})
        message = (
            f"nothing can be removed from this model: {'; '.join(reasons[:3]) or 'no weights'}"
        )
        raise ModelError(message[:300], code="model-nothing-to-prune")


def _describe_space(subject: Subject, report: Report) -> None:
    analysis = subject.analysis
    counts = {
        kind.value: sum(group.units for group in analysis.space.groups if group.kind is kind)
        for kind in GroupKind
    }
    shown = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    message = (
        f"search space: {len(analysis.space.groups)} groups, units: {shown}; "
        f"{len(analysis.space.frozen)} tensors stay"
    )
    say(report, "search-space", message, {"groups": len(analysis.space.groups), **counts})


def _baseline(subject: Subject, classes: int | None) -> dict[str, object]:
    """Figures of the original that the report compares with."""
    found: dict[str, object] = {"classes": classes, "accuracy": None, "evaluated_on": None}
    if classes is None or subject.evaluated is None:
        return found
    name, split = subject.evaluated
    assert split.labels is not None
    measured = accuracy(
        subject.model, subject.inputs(split), split.labels.astype(np.int64), threads=num_cpus()
    )
    return {**found, "accuracy": measured, "evaluated_on": name}
