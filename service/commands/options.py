"""Options that several commands share: how a model is to be analysed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from graph_analysis.errors import InputError

if TYPE_CHECKING:
    from graph_analysis.pipeline import AnalysisOptions

InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape", metavar="NAME=1,3,224,224", help="Bind the free axes of an input."
    ),
]
Multiple = Annotated[
    int,
    typer.Option(
        "--multiple",
        min=1,
        help="Kept channels are a multiple of this, in groups with more of them.",
    ),
]
Protect = Annotated[
    list[str] | None,
    typer.Option("--protect", metavar="PATTERN", help="Nodes and weights that stay; * and ?."),
]
Kinds = Annotated[
    str, typer.Option("--kinds", help="Which groups to generate: channel,head,operator.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
ALL_KINDS = "channel,head,operator"


def analysis_options(
    *,
    input_shapes: Sequence[str] = (),
    multiple: int = 1,
    protect: Sequence[str] = (),
    kinds: str = ALL_KINDS,
) -> "AnalysisOptions":
    """The options of one analysis, from the texts on the command line.

    Raises:
        InputError: A shape or a kind cannot be read.
    """
    from graph_analysis.pipeline import AnalysisOptions
    from graph_analysis.search_space import GroupKind

    try:
        chosen = frozenset(GroupKind(kind.strip()) for kind in kinds.split(","))
    except ValueError as error:
        message = f"--kinds {kinds!r} is not a list of {ALL_KINDS}"
        raise InputError(message, param="kinds") from error
    return AnalysisOptions(
        input_shapes=dict(_shape(text) for text in input_shapes),
        multiple=multiple,
        protect=tuple(protect),
        kinds=chosen,
    )


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, numbers = text.rpartition("=")
    try:
        shape = tuple(int(number) for number in numbers.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        message = f"--input-shape {text!r} is not of the form NAME=1,3,224,224"
        raise InputError(message, param="input-shape")
    return name, shape
