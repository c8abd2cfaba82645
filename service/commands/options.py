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
        help="Kept channels are a multiple of this, in groups with more of them.",
    ),
]
MinUnits = Annotated[
    int, typer.Option("--min-units", help="Channels or heads that every group keeps at least.")
]
Protect = Annotated[
    list[str] | None,
    typer.Option(
        "--protect",
        metavar="PATTERN",
        help="Nodes, tensors and weights that stay, by name; * and ?. A list, or several times.",
    ),
]
Kinds = Annotated[
    str, typer.Option("--kinds", help="Which groups to generate: channel,head,operator.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
ALL_KINDS = "channel,head,operator"
_LARGEST = 4096
USUAL_MULTIPLE = 8  # as in service.recipe; others fall out of blocked convolutions


def analysis_options(
    *,
    input_shapes: Sequence[str] = (),
    multiple: int = 1,
    min_units: int = 1,
    protect: Sequence[str] = (),
    kinds: str = ALL_KINDS,
) -> "AnalysisOptions":
    """The options of one analysis, from the texts on the command line.

    Raises:
        InputError: A shape, a kind or a number cannot be used.
    """
    from graph_analysis.pipeline import AnalysisOptions
    from graph_analysis.search_space import GroupKind

    try:
        chosen = frozenset(GroupKind(kind.strip()) for kind in kinds.split(","))
    except ValueError as error:
        message = f"--kinds {kinds!r} is not a list of {ALL_KINDS}"
        raise InputError(message, param="kinds") from error
    for option, number in (("multiple", multiple), ("min-units", min_units)):
        if not 1 <= number <= _LARGEST:
            message = f"--{option} is a whole number from 1 to {_LARGEST}, got {number}"
            raise InputError(message, param=option)
    return AnalysisOptions(
        input_shapes=input_shapes_of(input_shapes),
        multiple=multiple,
        min_units=min_units,
        protect=tuple(part.strip() for text in protect for part in text.split(",") if part.strip()),
        kinds=chosen,
    )


def input_shapes_of(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Input name -> shape, from ``--input-shape``.

    Raises:
        InputError: A text is not of the form NAME=1,3,224,224.
    """
    return dict(_shape(text) for text in texts)


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
