"""``secateur solve``: a solution in one shot, from the weights alone or at random."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

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


class SaliencyName(StrEnum):
    """Criteria that need no data."""

    MAGNITUDE = "magnitude"
    RANDOM = "random"


Model = Annotated[Path, typer.Argument(help="The ONNX file.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the solution (JSON) goes.")]
Target = Annotated[float | None, typer.Option(help="Share that remains, between 0 and 1.")]
Criterion = Annotated[SaliencyName, typer.Option("--saliency", help="What makes a unit redundant.")]
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
    }
    given = [(quantity, ratio) for quantity, ratio in targets.items() if ratio is not None]
    if len(given) != 1:
        message = "give exactly one of --target-macs, --target-params, --target-bytes"
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
    solution = run(
        analysis, target_ratio=ratio, quantity=quantity, saliency=saliency.value, seed=seed
    )
    output.write_text(solution.to_json(indent=1) + "\n")
    nothing = Solution.of(analysis.space, {})
    remains = {
        "macs": analysis.macs(solution) / max(1, analysis.macs(nothing)),
        "parameters": analysis.parameters(solution) / max(1, analysis.parameters(nothing)),
    }
    units = sum(len(units) for units in solution.removed.values())
    if as_json:
        typer.echo(json.dumps({"output": str(output), "removed_units": units, "remains": remains}))
        return
    typer.echo(
        f"{units} units of {len(solution.removed)} groups go; {remains['macs']:.3f} of the MACs "
        f"and {remains['parameters']:.3f} of the parameters remain\nwritten {output}"
    )
