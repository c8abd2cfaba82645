"""The report of a job: what went in, what came out, what was removed, what stayed and why.

A plain dictionary of schema ``secateur/report/2``, described by ``reporting/report.schema.json``;
JSON for machines, ``to_text`` for a terminal, ``reporting.to_html`` for a browser. It holds no
clock time and no path, so that one seeded job run twice gives one report twice, but for latencies,
memory and what training took.
"""

import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime

from exporters.figures import Proof
from exporters.measure import Latency
from graph_analysis.search_space import Group, GroupKind, SearchSpace
from graph_analysis.solution import Solution

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "secateur/report/2"


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """One model file in numbers.

    Attributes:
        parameters: Weight elements.
        macs: Multiply-accumulates per sample.
        bytes: Of the file.
        sha256: Of the file.
        accuracy: Share of test samples, or positions, classified rightly (0..1), if there were
            labels of classes.
        measure: Name of what labels were compared by: an accuracy, ``f1``, ``rmse`` or ``mae``.
        value: Its value.
        latency: One entry per batch size and thread count measured.
        peak_memory: Bytes that loading and running it takes at most, if they were measured.
    """

    parameters: int
    macs: int
    bytes: int
    sha256: str
    accuracy: float | None = None
    measure: str | None = None
    value: float | None = None
    latency: Sequence[Latency] = field(default_factory=tuple)
    peak_memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a report says beside the figures.

    Attributes:
        about: The model's own words: ``graph``, ``producer``, ``opset``, ``inputs``, ``outputs``.
        segments: What became of each, as :func:`exporters.reporting.segments.describe` says it.
        saliency: Group id -> ``lowest``, ``median``, ``highest`` and ``highest_removed`` of it, as
            the search saw them.
        hashes: Kind of file -> SHA-256.
        command: That does the job again.
        machine: What latencies were measured on: ``processor``, ``cores``, and ``load``, the mean
            number of processes that wanted to run meanwhile.
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    segments: Sequence[Mapping[str, Any]] = ()
    saliency: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)


def build_report(
    *,
    space: SearchSpace,
    solution: Solution,
    before: ModelFigures,
    after: ModelFigures,
    proof: Proof,
    configuration: Mapping[str, Any],
    seed: int,
    versions: Mapping[str, str] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    training: Mapping[str, Any] | None = None,
    evaluated_on: str | None = None,
    surroundings: Surroundings | None = None,
) -> dict[str, Any]:
    """The report as JSON-compatible values.

    Args:
        space: The search space that was searched.
        solution: What was removed.
        before: The file that came in.
        after: The file that goes out.
        proof: Of the latter.
        configuration: All settings of the job, JSON-compatible.
        seed: That everything random followed from.
        versions: Further libraries (the trainer's); those used here are added.
        history: What training recorded, one JSON-compatible entry per step or epoch.
        training: Its figures as a whole, JSON-compatible.
        evaluated_on: The split that accuracies were measured on (test, val), if any.
        surroundings: The rest of what a reader wants to know.

    Raises:
        SolutionError: The solution belongs to another search space.
    """
    solution.check(space)
    around = surroundings or Surroundings()
    return {
        "schema": SCHEMA,
        "about": dict(around.about),
        "model": {"before": _figures(before), "after": _figures(after)},
        "ratios": _ratios(before, after),
        "removed": dict(removed_by_kind(space, solution)),
        "groups": [
            _group(group, space, solution) | {"saliency": around.saliency.get(group.id)}
            for group in space.groups
        ],
        "segments": [dict(entry) for entry in around.segments],
        "erased": _erased(space, solution),
        "frozen": [
            {"name": entry.initializer or entry.tensor, "reason": entry.reason}
            for entry in space.frozen
        ],
        "proof": proof.to_dict(),
        "evaluated_on": evaluated_on,
        "training": [dict(entry) for entry in history],
        "training_summary": dict(training or {}),
        "configuration": dict(configuration),
        "seed": seed,
        "versions": library_versions() | dict(versions or {}),
        "machine": dict(around.machine),
        "hashes": dict(around.hashes),
        "command": around.command,
    }


def library_versions() -> dict[str, str]:
    """Versions of what this package runs on."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def file_sha256(path: "Path") -> str:
    """Digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def removed_by_kind(space: SearchSpace, solution: Solution) -> Counter[str]:
    """Units removed, by kind; what goes with an erased structure is counted as that structure."""
    counts: Counter[str] = Counter({kind.value: 0 for kind in GroupKind})
    for group_id, units in solution.removed.items():
        counts[space.group_by_id[group_id].kind.value] += len(units)
    return counts


def _figures(model: ModelFigures) -> dict[str, Any]:
    return asdict(model) | {"latency": [asdict(latency) for latency in model.latency]}


def _ratios(before: ModelFigures, after: ModelFigures) -> dict[str, float | None]:
    """What remains of each quantity (0..1); None where there was nothing."""

    def ratio(old: float, new: float) -> float | None:
        return new / old if old else None

    ratios = {
        name: ratio(getattr(before, name), getattr(after, name))
        for name in ("parameters", "macs", "bytes")
    }
    if before.peak_memory and after.peak_memory:
        ratios["peak_memory"] = ratio(before.peak_memory, after.peak_memory)
    if before.latency and after.latency:
        ratios["latency"] = ratio(before.latency[0].p50_ms, after.latency[0].p50_ms)
    return ratios


def _group(group: Group, space: SearchSpace, solution: Solution) -> dict[str, Any]:
    """Width of one group before and after; 0 where it went with a structure above it."""
    gone_with = _erased_parent(group, space, solution)
    left = group.units - len(solution.removed.get(group.id, ()))
    return {
        "id": group.id,
        "kind": group.kind.value,
        "before": group.units,
        "after": 0 if gone_with else left,
        "erased_with": gone_with,
        "macs": group.macs,
        "parameters": group.parameters,
    }


def _erased_parent(group: Group, space: SearchSpace, solution: Solution) -> str | None:
    parent = group.parent
    while parent is not None:
        if solution.removed.get(parent):
            return parent
        parent = space.group_by_id[parent].parent if parent in space.group_by_id else None
    return None


def _erased(space: SearchSpace, solution: Solution) -> list[dict[str, Any]]:
    return [
        {"id": group.id, "nodes": list(group.nodes), "parameters": group.parameters}
        for group in space.groups
        if group.kind is GroupKind.OPERATOR and solution.removed.get(group.id)
    ]


def to_text(report: Mapping[str, Any]) -> str:
    """The report as a table and a few lines for a terminal."""
    before, after = report["model"]["before"], report["model"]["after"]
    rows = [
        _row("parameters", before["parameters"], after["parameters"], ",d"),
        _row("MACs", before["macs"], after["macs"], ",d"),
        _row("bytes", before["bytes"], after["bytes"], ",d"),
    ]
    if before["accuracy"] is not None and after["accuracy"] is not None:
        title = before.get("measure") or "accuracy"
        rows.append(_row(title, before["accuracy"], after["accuracy"], ".4f"))
    elif before.get("value") is not None and after.get("value") is not None:
        rows.append(_row(before["measure"], before["value"], after["value"], ".4g"))
    else:
        rows.append(f"{'accuracy':<42}{'not measured':>16}")
    if before["peak_memory"] and after["peak_memory"]:
        batch = before["latency"][0]["batch"] if before["latency"] else 1
        title = f"peak memory in bytes (batch {batch})"
        rows.append(_row(title, before["peak_memory"], after["peak_memory"], ",d"))
    for old, new in zip(before["latency"], after["latency"], strict=False):
        title = f"latency p50 ms (batch {old['batch']}, {old['threads']} threads)"
        rows.append(_row(title, old["p50_ms"], new["p50_ms"], ".3f"))
    proof = report["proof"]
    removed = ", ".join(f"{count} {kind}" for kind, count in report["removed"].items() if count)
    narrowed = sum(0 < group["after"] < group["before"] for group in report["groups"])
    lines = [
        f"{'':<42}{'before':>16}{'after':>16}{'left':>8}",
        *rows,
        f"removed: {removed or 'nothing'} ({narrowed} of {len(report['groups'])} groups narrower)",
        *(f"erased: {entry['id']} ({len(entry['nodes'])} nodes)" for entry in report["erased"]),
        *(f"stays: {reason} ({count})" for reason, count in _reasons(report)),
        *_training_notes(report),
        f"proof: {'passed' if proof['passed'] else 'FAILED'}, {proof['samples']} samples "
        f"({proof['real_samples']} real), largest difference {proof['max_difference']:.3g}",
        *(f"note: {note}" for note in proof["notes"]),
    ]
    return "\n".join(lines)


def _row(title: str, before: float, after: float, form: str) -> str:
    left = f"{after / before:.3f}" if before else "-"
    return f"{title:<42}{before:>16{form}}{after:>16{form}} {left:>7}"


def _training_notes(report: Mapping[str, Any]) -> list[str]:
    summary, notes = report.get("training_summary", {}), []
    count, halvings = summary.get("renormalised", 0), summary.get("halvings", 0)
    if count:
        text = f"trained with {count} normalisations that the file lost; they are folded away again"
        notes.append(text)
    if halvings:
        notes.append(f"trained in parts of 1/{1 << halvings} of the size, for want of memory")
    if summary.get("ended", "schedule") != "schedule":
        notes.append(f"training ended early: {summary['ended'].replace('-', ' ')}")
    return notes


def _reasons(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    return Counter(entry["reason"] for entry in report["frozen"]).most_common()
