"""What a report says beside the figures: the model's words, segments, digests, the command."""

import shlex
from collections.abc import Iterator
from dataclasses import fields

import onnx

from exporters.report import Surroundings, file_sha256
from exporters.reporting.segments import describe
from graph_analysis.solution import Solution
from graph_analysis.svg import outcome_picture
from service.compression.machine import load, num_cpus, processor
from service.compression.run_directory import RunDirectory
from service.compression.saliencies import summary
from service.compression.subject import Subject
from service.recipe import FLAGS, Recipe

_REPEATED = ("protect",)  # an option that is given once per value
_MOST_SEGMENTS = 1500  # a picture of more is too large for a page


def surroundings(subject: Subject, run: RunDirectory, solution: Solution) -> Surroundings:
    """All that can be said of a job whose file is written."""
    return Surroundings(
        about=_about(subject.model, subject.analysis.space.model.opset),
        segments=describe(subject.analysis, solution),
        saliency=summary(run.saliency, solution),
        hashes={
            "original model": file_sha256(run.model),
            "compressed model": file_sha256(run.compressed),
            "data set": subject.dataset.sha256,
            "search space": subject.analysis.space.sha256,
            "solution": file_sha256(run.solution),
        },
        command=command_of(subject.recipe),
        machine={"processor": processor(), "cores": num_cpus(), "load": load()},
    )


def drawn(subject: Subject, solution: Solution) -> str | None:
    """The segment graph with what went, as SVG; None where it cannot be drawn."""
    if len(subject.analysis.segments.segments) > _MOST_SEGMENTS:
        return None
    from service.graph_layout import place

    title = subject.model.graph.name or "model"
    try:
        return outcome_picture(subject.analysis, solution, place, title=title)
    except Exception:  # noqa: BLE001 - an extra; no reason to lose a network that is trained
        return None


def command_of(recipe: Recipe) -> str:
    """The command line that does the job again; the files go by names that stand for them.

    Example:
        >>> command_of(Recipe(target_macs=0.4, early_stop=True, max_accuracy_drop=0.01))[:54]
        'secateur compress model.onnx --data data.npz -o compre'
    """
    words = ["secateur", "compress", "model.onnx", "--data", "data.npz", "-o", "compressed.onnx"]
    return shlex.join([*words, *_options(recipe), "--report", "report"])


def _options(recipe: Recipe) -> Iterator[str]:
    """Every setting that is no default, and the seed."""
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if value == field.default and field.name != "seed":
            continue
        option = f"--{field.name.replace('_', '-')}"
        if field.name in FLAGS:
            yield option
        elif field.name in _REPEATED:
            yield from (word for each in value for word in (option, each))
        else:
            yield option
            yield ",".join(value) if isinstance(value, tuple) else str(value)


def _about(model: onnx.ModelProto, opset: int) -> dict[str, object]:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    return {
        "graph": graph.name,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opset": opset,
        "inputs": [_end(value) for value in graph.input if value.name not in weights],
        "outputs": [_end(value) for value in graph.output],
    }


def _end(value: onnx.ValueInfoProto) -> dict[str, object]:
    axes = value.type.tensor_type.shape.dim
    return {
        "name": value.name,
        "shape": [axis.dim_value if axis.HasField("dim_value") else None for axis in axes],
    }
