"""A layout for tests of pictures that needs no layout program."""

from collections.abc import Sequence

from graph_analysis.outline import Outline
from graph_analysis.svg import Placement, Size


def column(drawn: Outline, sizes: Sequence[Size]) -> Placement:
    """One box below the other."""
    centres = [(200.0, 60.0 * place + 30) for place in range(len(sizes))]
    links = [[centres[s], centres[s], centres[t], centres[t]]
             for s, t in (*drawn.links, *drawn.returning)]  # fmt: skip
    frames = [(0.0, 0.0, 400.0, 60.0)] * len(drawn.repeats)
    return Placement(
        width=400, height=60.0 * len(sizes), centres=centres, links=links, frames=frames
    )
