"""``secateur solve``: a solution in one shot, from the weights alone or at random."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graph_analysis.errors import InputError
from service.commands.options import (
    ALL_KINDS,
    USUAL_MULTIPLE,
    InputShapes,
    Json,
    Kinds,
    MinUnits,
    Multiple,
    Protect,
    analysis_options,
)

if TYPE_CHECKING:
    from graph_analysis.pipeline import Analysis
    from graph_analysis.solution import Solution


class SaliencyName(StrEnum):
    """Criteria that need no data."""

    MAGNITUDE = "magnitude"
    RANDOM = "random"


Model = Annotated[Path, typer.Argument(help="The ONNX file.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the solution (JSON) goes.")]
Target = Annotated[float | None, typer.Option(help="Share that remains, between 0 and 1.")]
Criterion = Annotated[SaliencyName, typer.Option("--saliency", help="What makes a unit redundant.")]
LatencyThreads = Annotated[
    int,
    typer.Option(
        min=0, max=1024, help="That --target-latency is measured with; 0: ONNX Runtime's own."
    ),
]
LatencyBatch = Annotated[
    int, typer.Option(min=1, max=4096, help="Samples per run of --target-latency.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of the random saliency.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="solve")(solve)


def solve(
    model: Model,
    output: Output,
    *,
    target_macs: Target = None,
    target_params: Target = None,
    target_bytes: Target = None,
    target_latency: Target = None,
    latency_threads: LatencyThreads = 1,
    latency_batch: LatencyBatch = 1,
    saliency: Criterion = SaliencyName.MAGNITUDE,
    seed: Seed = 0,
    kinds: Kinds = ALL_KINDS,
    input_shape: InputShapes = None,
    multiple: Multiple = USUAL_MULTIPLE,
    min_units: MinUnits = 1,
    protect: Protect = None,
    as_json: Json = False,
) -> None:
    """Choose what to remove from MODEL until the target remains; no data, no training."""
    from graph_analysis.loading import load_model
    from graph_analysis.pipeline import analyze
    from graph_analysis.solution import Solution
    from graph_analysis.solving import Quantity
    from graph_analysis.solving import solve as run

    targets: dict[Quantity, float | None] = {
        "macs": target_macs,
        "parameters": target_params,
        "bytes": target_bytes,
        "latency": target_latency,
    }
    given = [(quantity, ratio) for quantity, ratio in targets.items() if ratio is not None]
    if len(given) != 1:
        message = "give exactly one of --target-macs, -params, -bytes, -latency"
        raise InputError(message, param="target")
    options = analysis_options(
        input_shapes=input_shape or (),
        multiple=multiple,
        min_units=min_units,
        protect=protect or (),
        kinds=kinds,
    )
    analysis = analyze(load_model(model), options=options)
    quantity, ratio = given[0]
    if quantity == "latency":
        solution, measured = _timed(
            analysis, ratio, saliency.value, seed, threads=latency_threads, batch=latency_batch
        )
    else:
        measured = {}
        solution = run(
            analysis, target_ratio=ratio, quantity=quantity, saliency=saliency.value, seed=seed
        )
    output.write_text(solution.to_json(indent=1) + "\n")
    nothing = Solution.of(analysis.space, {})
    remains = {
        "macs": analysis.macs(solution) / max(1, analysis.macs(nothing)),
        "parameters": analysis.parameters(solution) / max(1, analysis.parameters(nothing)),
        **({"latency": measured["median"]} if measured else {}),
    }
    units = sum(len(units) for units in solution.removed.values())
    if as_json:
        document = {"output": str(output), "removed_units": units, "remains": remains}
        typer.echo(json.dumps(document | ({"latency_share": measured} if measured else {})))
        return
    if measured:
        typer.echo(
            f"{measured['median']:.3f} of the original's time remains ({measured['low']:.3f} to "
            f"{measured['high']:.3f}; batch {latency_batch}, {latency_threads} threads)"
        )
    typer.echo(
        f"{units} units of {len(solution.removed)} groups go; {remains['macs']:.3f} of the MACs "
        f"and {remains['parameters']:.3f} of the parameters remain\nwritten {output}"
    )


def _timed(
    analysis: "Analysis",
    ratio: float,
    criterion: Literal["magnitude", "random"],
    seed: int,
    *,
    threads: int,
    batch: int,
) -> tuple["Solution", dict[str, Any]]:
    """A solution for a budget of latency, and what was measured of it."""
    from exporters.measured_share import ShareMeter
    from exporters.surgeon import shrink
    from graph_analysis.solving import saliency_of
    from graph_analysis.timing import Timing

    shapes = {name: analysis.graph.shape(name) or () for name in analysis.graph.inputs}
    meter = ShareMeter(analysis.loaded.model, shapes=shapes, threads=threads, batch=batch)
    timing = Timing(
        analysis=analysis,
        measure=lambda solution: meter.of(shrink(analysis, solution)),
        say=lambda text: typer.echo(text, err=True),
    )
    timing.check(ratio)
    solution = timing.select(saliency_of(analysis, criterion, seed), ratio)
    measured = asdict(timing.confirmed(solution))
    return solution, {**measured, "threads": threads, "batch": batch}
