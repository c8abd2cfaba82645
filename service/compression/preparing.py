"""Stage ``prepare``: everything that can be refused is refused here, before anything is trained."""

import json

import numpy as np

from exporters.comparison import Outputs
from exporters.sessions import OFF, Feeds, open_session
from exporters.sessions import run as run_session
from graph_analysis.errors import ModelError
from graph_analysis.loading import LoadedModel, load_model
from graph_analysis.search_space import GroupKind
from optimizer.bridge.binding import bind
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.trainer.plan import plan
from optimizer.trainer.preparing import device_of
from service.compression.agreement import SAMPLES, check_import
from service.compression.integers import check_integers
from service.compression.judging import judged
from service.compression.labelling import LabelUse, check_labels
from service.compression.reporting import Phases, Report, say
from service.compression.run_directory import RunDirectory
from service.compression.settings import config_of
from service.compression.subject import Subject, open_subject
from service.compression.timing import timing_of
from service.datasets import check_dataset
from service.errors import DatasetError
from service.recipe import Recipe

_PHASES = ("reading model", "reading data", "search space", "comparing", "baseline")


def prepare(run: RunDirectory, recipe: Recipe, *, report: Report) -> None:
    """Check model, data and target against each other; leave ``space.json``, ``baseline.json``.

    Raises:
        ModelError: The model cannot be used or trained.
        DatasetError: The data does not fit it.
        InputError: A setting does not fit them.
        TargetUnreachableError: The budget cannot be met.
    """
    phases = Phases(report, "prepare", _PHASES)
    phases.begin("reading model")
    loaded = load_model(run.model)
    check_trainable(loaded)
    phases.begin("reading data")
    subject = open_subject(run, recipe, loaded=loaded)
    use = _check_data(subject, report)
    _check_samples(subject)
    phases.begin("search space")
    _check_anything_can_go(subject)
    imported = import_model(subject.analysis.maskable())
    check_written_back(loaded, imported)
    timing = timing_of(subject, run, report, phases.alive)
    binding = bind(subject.analysis, imported, timing=timing)
    binding.chooser(recipe.target[1], recipe.target[0])
    check_plan(subject, imported)
    run.space.write_text(subject.analysis.space.to_json())
    _describe_space(subject, report)
    _say_what_is_not_done(subject, imported, use, report)
    phases.begin("comparing")
    check_import(imported, subject.model, _some(subject), recipe.seed)
    check_integers(subject.analysis, imported, _some(subject), recipe.seed)
    phases.begin("baseline")
    run.baseline.write_text(json.dumps(_baseline(subject, use, phases)))
    phases.end()


def check_trainable(loaded: LoadedModel) -> None:
    """Refuse a model that has nothing to train, or operators without a torch counterpart.

    Needs no data.

    Raises:
        ModelError: It cannot be imported at all, or holds all its weights as integers.
        UnsupportedOperatorsError: Names all such operators.
    """
    imported = import_model(loaded.model)
    if imported.integer_weights and not any(True for _ in imported.module.parameters()):
        name = imported.integer_weights[0]
        message = (
            f"the model is already quantised: its weights, '{name}' for one, are integers, so "
            "there are no float weights to train; upload the float model and quantise afterwards"
        )
        raise ModelError(message, code="model-quantised", param=name)


def check_written_back(loaded: LoadedModel, imported: ImportedModule) -> None:
    """Refuse a model with weights where the file could not take their trained values.

    These are weights inside bodies that the flat view leaves whole.

    Raises:
        ModelError: ``model-subgraph``; names one such weight, and why its body is left whole.
    """
    known = {tensor.name for tensor in loaded.flat.graph.initializer}
    weights = {name for name, tensor in imported.tensors.items() if tensor.requires_grad}
    strange = sorted(weights - known)
    if strange:
        reasons = "; ".join(
            f"at node '{node}', {reason}" for node, reason in loaded.bodies.left_whole.items()
        )
        message = (
            f"weight '{strange[0]}' lies in a body that cannot be trained: {reasons}; export the "
            "model again with that weight outside of the body"
        )
        raise ModelError(message, code="model-subgraph", param=strange[0])


def _some(subject: Subject) -> Feeds:
    return subject.samples(subject.dataset.train, SAMPLES)


def _check_data(subject: Subject, report: Report) -> LabelUse:
    """Everything about the data; what the labels are."""
    for warning in check_dataset(subject.dataset, subject.interface):
        say(report, warning.code, warning.message, {"param": warning.param})
    outputs = _run_original(subject, _some(subject), "x_train")
    _check_finite(subject, outputs)
    return check_labels(subject, outputs, report)


def _check_finite(subject: Subject, outputs: Outputs) -> None:
    name = subject.model.graph.output[0].name
    first = outputs.get(name)
    if first is None or first.dtype.kind != "f" or first.ndim != 2:
        return
    if not np.isfinite(first).all():
        message = f"output '{name}' of the original model is not finite on samples of the data set"
        raise ModelError(message, code="model-non-finite-weights", param=name)


def _check_samples(subject: Subject) -> None:
    """What shapes and types do not show: indices outside of tables, splits of other sizes."""
    limits = {spec.name: spec.limit for spec in subject.specs if spec.limit}
    for name, split in subject.dataset.splits.items():
        for key, values in subject.arrays(split).items():
            limit = limits.get(key)
            if limit is None:
                continue
            bad = ((values < -limit) | (values >= limit)).reshape(len(values), -1).any(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                message = (
                    f"input '{key}' indexes a table of {limit} rows, but row {row} of the {name} "
                    "samples goes outside it"
                )
                details = {"row": row, "limit": limit}
                raise DatasetError(
                    message, code="dataset-dtype", param=f"x_{name}", details=details
                )
        if name != "train":
            _run_original(subject, subject.samples(split, SAMPLES), f"x_{name}")


def check_plan(subject: Subject, imported: ImportedModule) -> None:
    """Whether there are steps enough, and the device.

    Raises:
        InputError: Too few steps, or no such device.
    """
    config = config_of(subject, imported)
    device_of(config.device)
    count = len(subject.dataset.train)
    if "val" not in subject.dataset.splits:
        count -= int(count * config.validation_ratio)
    plan(config, max(1, count // min(config.batch_size, count)))


def _run_original(subject: Subject, feeds: Feeds, param: str) -> Outputs:
    """Outputs of the original, optimisations off."""
    try:
        return run_session(open_session(subject.model, level=OFF), feeds)
    except Exception as error:
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
        message = (
            f"the model does not run on samples of the data set ({shapes}) in ONNX Runtime; check "
            "sizes, and that its element types are supported there"
        )
        raise DatasetError(message, code="dataset-shape-mismatch", param=param) from error


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


def _say_what_is_not_done(
    subject: Subject, imported: ImportedModule, use: LabelUse, report: Report
) -> None:
    """What a user would otherwise have to notice in the report."""
    _say_batch_size(subject, imported, report)
    if imported.integer_weights:
        count = len(imported.integer_weights)
        message = (
            f"{count} weights, '{imported.integer_weights[0]}' for one, are stored as integers and "
            "stay as they are; only float weights are trained"
        )
        say(report, "integer-weights", message, {"weights": count})
    if use.judge is not None and subject.evaluated is None:
        what = "accuracy" if use.judge.is_accuracy else use.judge.measure
        message = (
            f"{what} is not measured: there are no labelled test or validation samples; add "
            "x_test and y_test to the data set"
        )
        say(report, "accuracy-not-measured", message)
    if "val" not in subject.dataset.splits:
        count = len(subject.dataset.train)
        held = int(count * config_of(subject, imported).validation_ratio)
        message = (
            f"there are no validation samples: {held} of the {count} training samples are held out "
            "to choose the best weights by"
        )
        say(report, "validation-held-out", message, {"held_out": held})


def _say_batch_size(subject: Subject, imported: ImportedModule, report: Report) -> None:
    fixed, wanted = subject.fixed_batch, subject.recipe.batch_size
    if fixed is None or fixed == wanted:
        return
    if imported.batch_is_free:
        how = f"training takes up to {wanted} samples per step all the same, and the file keeps it"
    else:
        how = "so training uses that"
    data = {"batch_size": fixed, "trained_with": config_of(subject, imported).batch_size}
    say(report, "batch-size-fixed", f"the model fixes its batch size at {fixed}; {how}", data)


def _baseline(subject: Subject, use: LabelUse, phases: Phases) -> dict[str, object]:
    """Figures of the original that the report compares with."""
    figures = judged(subject, subject.model, use, alive=phases.alive)
    name = subject.evaluated[0] if subject.evaluated and figures["value"] is not None else None
    return {**use.to_values(), **figures, "evaluated_on": name}
