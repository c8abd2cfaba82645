"""``secateur analyze``: the search space of a model, explained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

Model = Annotated[Path, typer.Argument(help="The ONNX file.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the search space (JSON) here.")
]
Picture = Annotated[
    Path | None, typer.Option("--svg", help="Also draw the segment graph into this file.")
]
Everything = Annotated[bool, typer.Option("--all", help="Long tables and names in full.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="analyze")(analyze)


def analyze(
    model: Model,
    *,
    output: Output = None,
    svg: Picture = None,
    input_shape: InputShapes = None,
    multiple: Multiple = USUAL_MULTIPLE,
    min_units: MinUnits = 1,
    protect: Protect = None,
    kinds: Kinds = ALL_KINDS,
    everything: Everything = False,
    as_json: Json = False,
) -> None:
    """Print what of MODEL can be removed, at what price, and why the rest stays."""
    from graph_analysis.explain import explain
    from graph_analysis.findings import to_document
    from graph_analysis.loading import load_model
    from graph_analysis.pipeline import analyze as run

    options = analysis_options(
        input_shapes=input_shape or (),
        multiple=multiple,
        min_units=min_units,
        protect=protect or (),
        kinds=kinds,
    )
    analysis = run(load_model(model), options=options)
    picture = draw(analysis, model.name) if svg is not None else ""
    if output is not None:
        output.write_text(analysis.space.to_json(indent=1) + "\n")
    if svg is not None:
        svg.write_text(picture, encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(to_document(analysis), indent=1))
    else:
        typer.echo(explain(analysis, everything=everything))


def draw(analysis: "Analysis", title: str) -> str:
    """The segment graph as an SVG.

    Raises:
        InputError: The layout library is not installed, or the graph is too large for it.
    """
    from graph_analysis.svg import picture
    from service.graph_layout import place

    return picture(analysis, place, title=title)
