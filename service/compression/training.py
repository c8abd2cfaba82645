"""Stage ``train``: search and training, from the original weights to zeroed groups."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from exporters.training_form import training_form
from graph_analysis.solution import Solution
from graph_analysis.solving import Selection
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.checkpoint import Checkpoint
from optimizer.trainer import ArrayData, Arrays, Hooks, Progress, Stopped, TrainEvent, TrainResult
from optimizer.trainer import train as run_training
from optimizer.trainer.process_group import current
from service.compression.labelling import LabelUse
from service.compression.reporting import Report, ShouldStop, say
from service.compression.run_directory import RunDirectory
from service.compression.saliencies import Saliencies
from service.compression.settings import config_of
from service.compression.subject import Subject, open_subject
from service.compression.timing import timing_of
from service.compression.weights_file import write_weights
from service.datasets import Split
from service.faults import fault
from service.recipe import Recipe

_OVERSHOT = 0.01  # of the whole


def train_stage(
    run: RunDirectory, recipe: Recipe, *, report: Report, should_stop: ShouldStop
) -> None:
    """Train to the budget; leave ``weights.safetensors``, ``solution.json``, ``training.json``.

    Returns early, without these files, when it was told to stop; a checkpoint has been written. In
    a group of processes all train and the first one leaves the files.
    """
    processes = current()
    subject = open_subject(run, recipe)
    use = LabelUse.from_values(json.loads(run.baseline.read_text()))
    imported = import_model(subject.analysis.maskable())
    hooks = _hooks(report, should_stop)
    timing = timing_of(subject, run, report, hooks.alive)
    record = Saliencies(run.saliency) if processes.is_first else None
    binding = bind(subject.analysis, imported, timing=timing, decided=record)
    splits = subject.dataset.splits
    try:
        result = run_training(
            imported,
            data=ArrayData(
                train=_arrays(subject, splits["train"], use),
                validation=_arrays(subject, splits["val"], use) if "val" in splits else None,
            ),
            binding=binding,
            config=config_of(subject, imported),
            hooks=hooks,
            checkpoints=run.checkpoints,
            cutter=partial(training_form, subject.analysis),
            processes=processes,
        )
    except Stopped:
        return
    if not processes.is_first:
        return
    imported.module.cpu()
    write_weights(run.weights, imported.weights())
    run.solution.write_text(result.solution.to_json())
    run.training.write_text(json.dumps(_figures(result)))
    units = sum(len(units) for units in result.solution.removed.values())
    message = f"trained {result.steps:,} steps on {result.device}; {units} units go"
    say(report, "trained", message, {"steps": result.steps, "units": units})
    _say_if_overshot(subject, result.solution, report)


def _say_if_overshot(subject: Subject, solution: Solution, report: Report) -> None:
    """Where the smallest thing that could go was much more than what had to."""
    quantity, target = subject.recipe.target
    if quantity == "latency":
        return
    left = Selection(subject.analysis, quantity=quantity, removed=solution.removed).remaining_ratio
    if left >= target - _OVERSHOT:
        return
    message = (
        f"{left:.1%} of the {quantity} remain, {1 - left / target:.1%} less than the {target:.1%} "
        "that were asked for: what can go comes in pieces as large as that; a smaller multiple may "
        "help"
    )
    say(report, "target-overshot", message, {"remaining": left, "target": target})


def _arrays(subject: Subject, split: Split, use: LabelUse) -> Arrays:
    return Arrays(inputs=subject.inputs(split), labels=use.labels(split.labels))


def _hooks(report: Report, should_stop: ShouldStop) -> Hooks:
    latest: dict[str, Any] = {"kind": "progress", "stage": "train", "phase": "starting"}
    latest.update(step=0, total=0, fraction=0.0, metrics={})

    def on_progress(progress: Progress) -> None:
        latest.update(_progress_line(progress))
        report(dict(latest))

    def on_event(event: TrainEvent) -> None:
        if event.code == "training-resumed":
            report({"kind": "resumed", "step": event.data["step"]})
        say(report, event.code, event.message, event.data)

    def on_checkpoint(saved: Checkpoint) -> None:
        line = {"step": saved.step, "path": saved.path.name, "sha256": saved.sha256}
        report({"kind": "checkpoint", **line})

    return Hooks(
        progress=on_progress,
        event=on_event,
        checkpoint=on_checkpoint,
        should_stop=should_stop,
        alive=lambda: report(dict(latest)),
        fault=fault,
    )


def _progress_line(progress: Progress) -> dict[str, Any]:
    metrics = {
        "loss": progress.loss,
        "accuracy": progress.accuracy,
        "macs_ratio": progress.macs_ratio,
    }
    if progress.accuracy is None and progress.measure is not None:
        metrics[progress.measure] = progress.value
    return {
        "kind": "progress",
        "stage": "train",
        "phase": progress.phase,
        "step": progress.step,
        "total": progress.total,
        "fraction": min(1.0, progress.step / max(1, progress.total)),
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }


def _figures(result: TrainResult[Any]) -> Mapping[str, Any]:
    return {
        "history": [dict(entry) for entry in result.history],
        "steps": result.steps,
        "best_step": result.best_step,
        "best_accuracy": result.best_accuracy,
        "best_loss": result.best_loss,
        "original_accuracy": result.original_accuracy,
        "measure": result.measure,
        "best_value": result.best_value,
        "original_value": result.original_value,
        "restarts": result.restarts,
        "renormalised": result.renormalised,
        "ended": result.ended,
        "is_within_drop": result.is_within_drop,
        "halvings": result.halvings,
        "device": result.device,
        "threads": result.threads,
        "processes": result.processes,
        "used": dict(result.used),
    }
