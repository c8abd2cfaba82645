"""Stage ``verify``: the written file is proved, measured and reported."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from exporters.figures import Proof
from exporters.masked import mask
from exporters.measure import Latency, file_bytes, latencies
from exporters.peak_memory import peak_memory
from exporters.report import ModelFigures, build_report, file_sha256
from exporters.reporting import to_html
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.search_space import ModelSummary
from graph_analysis.solution import Solution
from service.compression.describing import drawn, surroundings
from service.compression.errors import QualityGateError
from service.compression.formats.of_job import make_bundle, make_formats
from service.compression.judging import judged
from service.compression.labelling import LabelUse
from service.compression.machine import num_cpus
from service.compression.reporting import Phases, Report, say
from service.compression.run_directory import RunDirectory
from service.compression.subject import Subject, open_subject
from service.compression.timing import meter_of
from service.compression.weights_file import read_weights
from service.proving import prove_apart
from service.recipe import Recipe

_PHASES = ("proof", "accuracy", "latency", "report")
_PROOF_SAMPLES = 16
_ROUNDING = 1e-9  # a drop of 0.01 is 0.010000000000000009
_BATCHES = (1, 32)
_MOST_ROUNDS, _LEAST_ROUNDS = 100, 7
_LATENCY_SECONDS = 15.0  # per batch size, for both models together


def verify(run: RunDirectory, recipe: Recipe, *, report: Report) -> None:
    """Prove and measure ``compressed.onnx`` as it lies on the disk; leave proof and report.

    Raises:
        ProofFailedError: It is not equal to the masked model.
        QualityGateError: It is less accurate than ``recipe.max_accuracy_drop`` allows.
    """
    phases = Phases(report, "verify", _PHASES)
    phases.begin("proof")
    subject = open_subject(run, recipe)
    solution = Solution.from_json(run.solution.read_text())
    cut = onnx.load(run.compressed)
    weights = subject.own(read_weights(run.weights))
    proof = _prove(subject, solution, cut, weights, phases)
    run.proof.write_text(json.dumps(proof.to_dict()))
    say(report, "proved", f"proof passed, largest difference {proof.max_difference:.2g}")
    phases.begin("accuracy")
    baseline = json.loads(run.baseline.read_text())
    # gate G5: counted anew on the file that is handed out
    quality = judged(subject, cut, LabelUse.from_values(baseline), alive=phases.alive)
    _check_quality(recipe, baseline["accuracy"], quality["accuracy"])
    phases.begin("latency")
    measured = _measured(run, subject, cut, phases)
    phases.begin("report")
    analysis = subject.analysis
    counted = analyze(load_model(run.compressed), options=analysis.options).space.model
    measured["before"] |= {name: baseline[name] for name in quality}
    before = _figures(analysis.space.model, run.model, measured["before"])
    after = _figures(counted, run.compressed, measured["after"] | quality)
    training = json.loads(run.training.read_text()) | _share(subject, cut, phases, report)
    document = build_report(
        space=analysis.space,
        solution=solution,
        before=before,
        after=after,
        proof=proof,
        configuration=_configuration(recipe, subject),
        seed=recipe.seed,
        versions={"torch": torch.__version__},
        history=training.pop("history"),
        evaluated_on=baseline["evaluated_on"],
        training=training,
        surroundings=surroundings(subject, run, solution),
    )
    use = LabelUse.from_values(baseline)
    document["exports"] = make_formats(run, subject, use, phases, report)
    run.report.write_text(json.dumps(document))
    run.page.write_text(to_html(document, picture=drawn(subject, solution)), encoding="utf-8")
    make_bundle(run, subject, use, phases, report)
    phases.end()


def _prove(
    subject: Subject,
    solution: Solution,
    cut: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    phases: Phases,
) -> Proof:
    splits = subject.dataset.splits
    real = splits.get("test") or splits.get("val") or splits["train"]
    return prove_apart(
        mask(subject.analysis, solution, weights),
        cut,
        original=subject.model,
        samples=[subject.samples(real, _PROOF_SAMPLES)],
        seed=subject.recipe.seed,
        shapes=subject.shapes,
        keep=subject.analysis.effects(solution).keep,
        alive=phases.alive,
    )


def _check_quality(recipe: Recipe, before: float | None, after: float | None) -> None:
    allowed = recipe.max_accuracy_drop
    if allowed is None or before is None or after is None or before - after <= allowed + _ROUNDING:
        return
    message = (
        f"accuracy fell from {before:.4f} to {after:.4f}, by {before - after:.4f}; "
        f"max_accuracy_drop allows {allowed:g}; leave more (a larger target) or train longer"
    )
    raise QualityGateError(message, param="max_accuracy_drop")


def _latencies(subject: Subject, cut: onnx.ModelProto, phases: Phases) -> dict[str, list[Latency]]:
    """Both models in turns: one sample at a time and in batches, with one thread and with all.

    Fewer rounds where one takes long, and no batches where even a few would take too long.
    """
    models = {"before": subject.model, "after": cut}
    found: dict[str, list[Latency]] = {name: [] for name in models}
    seconds = 0.0  # of a round with one sample
    batches = _BATCHES if subject.fixed_batch is None else (subject.fixed_batch,)
    counts = sorted({1, num_cpus()})  # of threads
    for batch, threads in product(batches, counts):
        if seconds * batch * _LEAST_ROUNDS > _LATENCY_SECONDS:
            break
        measured = latencies(
            models,
            batch=batch,
            threads=threads,
            rounds=_MOST_ROUNDS,
            shapes=subject.shapes,
            seconds=_LATENCY_SECONDS / len(counts),
            alive=phases.alive,
        )
        seconds = seconds or sum(time.p50_ms for time in measured.values()) / 1e3
        for name, latency in measured.items():
            found[name].append(latency)
    return found


def _measured(
    run: RunDirectory, subject: Subject, cut: onnx.ModelProto, phases: Phases
) -> dict[str, dict[str, Any]]:
    """Latencies and peak memory of both models, as ``ModelFigures`` names them."""
    times = _latencies(subject, cut, phases)
    return {
        name: {
            "latency": times[name],
            "peak_memory": peak_memory(path, shapes=subject.shapes, alive=phases.alive),
        }
        for name, path in (("before", run.model), ("after", run.compressed))
    }


def _share(
    subject: Subject, cut: onnx.ModelProto, phases: Phases, report: Report
) -> dict[str, Any]:
    """What the file takes of the original's time, if that is what was asked for."""
    quantity, target = subject.recipe.target
    if quantity != "latency":
        return {}
    meter = meter_of(subject, phases.alive)
    share = meter.of(cut)
    message = (
        f"the file takes {share.median:.3f} of the original's time ({share.low:.3f} to "
        f"{share.high:.3f}, {share.rounds} rounds, batch {meter.batch}, {meter.threads} threads); "
        f"{target:g} was asked for"
    )
    say(report, "latency-reached", message)
    settings = {"target": target, "batch": meter.batch, "threads": meter.threads}
    return {"latency_share": {**asdict(share), **settings}}


def _figures(counted: ModelSummary, path: Path, measured: Mapping[str, Any]) -> ModelFigures:
    """What can be counted of a file, and what was measured."""
    return ModelFigures(
        parameters=counted.parameters,
        macs=counted.macs,
        bytes=file_bytes(path),
        sha256=file_sha256(path),
        **measured,
    )


def _configuration(recipe: Recipe, subject: Subject) -> dict[str, Any]:
    values: dict[str, Any] = asdict(recipe)
    lists: Sequence[str] = ("kinds", "protect", "exports")
    values.update({name: list(values[name]) for name in lists})
    return {**values, "dataset_sha256": subject.dataset.sha256}
