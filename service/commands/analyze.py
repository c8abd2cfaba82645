"""``secateur analyze``: the search space of a model, explained."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import (
    ALL_KINDS,
    InputShapes,
    Json,
    Kinds,
    Protect,
    analysis_options,
)

Model = Annotated[Path, typer.Argument(help="The ONNX file.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the search space (JSON) here.")
]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="analyze")(analyze)


def analyze(
    model: Model,
    *,
    output: Output = None,
    input_shape: InputShapes = None,
    protect: Protect = None,
    kinds: Kinds = ALL_KINDS,
    as_json: Json = False,
) -> None:
    """Print what of MODEL can be removed, at what price, and why the rest stays."""
    from graph_analysis.explain import explain
    from graph_analysis.loading import load_model
    from graph_analysis.pipeline import analyze as run

    options = analysis_options(input_shapes=input_shape or (), protect=protect or (), kinds=kinds)
    analysis = run(load_model(model), options=options)
    if output is not None:
        output.write_text(analysis.space.to_json(indent=1) + "\n")
    typer.echo(analysis.space.to_json(indent=1) if as_json else explain(analysis))
