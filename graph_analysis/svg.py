"""Draws an outline that a layout has placed: one self-contained SVG, light and dark.

All text goes through ``_text``: names in a model are input from strangers.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from graph_analysis.explain import gone_share
from graph_analysis.outcome import State, outcomes
from graph_analysis.outline import Box, Fate, Outline, outline
from graph_analysis.pipeline import Analysis
from graph_analysis.reach import reach_of
from graph_analysis.solution import Solution

Point = tuple[float, float]
Legend = Sequence[tuple[str, str]]

_CHARACTER, _LINE, _PADDING = 7.3, 16.0, 10.0  # of 12 px text
_LINE_MAX, _LINES_MAX, _WORD_MAX = 30, 4, 40
_GROWTH = 60.0  # pixels that the costliest box is higher
_SOFT = 6.3  # pixels of a character of 11 px text
_MARGIN, _HEAD = 24.0, 108.0
_TIMES, _ARROW = "\N{MULTIPLICATION SIGN}", "\N{RIGHTWARDS ARROW}"
_LEGEND = (
    (Fate.ERASED.value, "may be erased whole"),
    ("within", "goes with an erased one"),
    (Fate.HEADS.value, "heads may go"),
    (Fate.CHANNELS.value, "channels may go"),
    (Fate.STAYS.value, "parameters stay"),
    (Fate.PLAIN.value, "no parameters"),
    (Fate.JOINT.value, "joint"),
    (Fate.END.value, "input, output"),
)
_OUTCOME_LEGEND = (
    (Fate.GONE.value, "erased"),
    (Fate.NARROWER.value, "narrower"),
    (Fate.STAYS.value, "as wide as it was"),
    (Fate.PLAIN.value, "no parameters"),
    (Fate.JOINT.value, "joint"),
    (Fate.END.value, "input, output"),
)
_HINT = f"higher boxes cost more MACs; {_TIMES}n: so many times, one behind the other"
# name -> fill, edge
_LIGHT = {
    "erased": ("#ffd9a8", "#c26a00"),
    "gone": ("#fdeaea", "#c0392b"),
    "narrower": ("#cfe3fb", "#2f6fb7"),
    "heads": ("#c9efdf", "#1b8a63"),
    "channels": ("#cfe3fb", "#2f6fb7"),
    "stays": ("#e3e6ea", "#7d8896"),
    "plain": ("#ffffff", "#7d8896"),
    "joint": ("#e6dcf7", "#7a52b8"),
    "end": ("#1c2430", "#1c2430"),
    "frame": ("#f5f7f9", "#b9c1cb"),
    "paper": ("#ffffff", "#ffffff"),
    "text": ("#1c2430", "none"),
    "soft": ("#5b6675", "none"),
    "bright": ("#ffffff", "none"),
    "link": ("none", "#7d8896"),
    "tip": ("#7d8896", "none"),
}
_DARK = {
    "erased": ("#6b4310", "#f0a54a"),
    "gone": ("#3a1d1d", "#f08a80"),
    "narrower": ("#1d4168", "#6fb0f5"),
    "heads": ("#174a3a", "#4fd0a4"),
    "channels": ("#1d4168", "#6fb0f5"),
    "stays": ("#333c47", "#8793a1"),
    "plain": ("#151a21", "#8793a1"),
    "joint": ("#43306a", "#b594ec"),
    "end": ("#e8ecf1", "#e8ecf1"),
    "frame": ("#1b222b", "#485362"),
    "paper": ("#151a21", "#151a21"),
    "text": ("#e8ecf1", "none"),
    "soft": ("#a2adba", "none"),
    "bright": ("#151a21", "none"),
    "link": ("none", "#8793a1"),
    "tip": ("#8793a1", "none"),
}


def _colours(palette: Mapping[str, tuple[str, str]]) -> str:
    rules = [f".{name}{{fill:{fill};stroke:{edge}}}" for name, (fill, edge) in palette.items()]
    return " ".join([*rules, f".within{{stroke:{palette['erased'][1]}}}"])


# plain classes, no variables: viewers that are no browsers show the same
_STYLE = f"""
text {{ font:12px system-ui,"Segoe UI","DejaVu Sans",sans-serif }}
.soft {{ font-size:11px }} .title {{ font-size:17px; font-weight:600 }}
.times {{ font-size:15px; font-weight:600 }} .middle {{ text-anchor:middle }}
.shape {{ stroke-width:1.4 }} .within {{ stroke-width:2.2 }} .link {{ stroke-width:1.3 }}
.returning {{ stroke-dasharray:5 4 }} .frame {{ stroke-dasharray:2 3 }}
.gone {{ stroke-dasharray:6 4 }} .struck {{ text-decoration:line-through }}
g:hover > .shape {{ stroke-width:3 }}
{_colours(_LIGHT)}
@media (prefers-color-scheme:dark) {{ {_colours(_DARK)} }}
""".strip()


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a box needs, in pixels."""

    width: float
    height: float
    is_round: bool


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where everything goes, in pixels from the top left corner.

    Attributes:
        width: Of the drawing.
        height: Of the drawing.
        centres: Of the boxes.
        links: Control points of a chain of cubic curves for every link, then every returning one.
        frames: Left, top, right, bottom of every repeat.
    """

    width: float
    height: float
    centres: Sequence[Point]
    links: Sequence[Sequence[Point]]
    frames: Sequence[tuple[float, float, float, float]]


Layout = Callable[[Outline, Sequence[Size]], Placement]


def sizes_of(drawn: Outline, macs: int) -> list[Size]:
    """How large every box is: room for its text, and higher the more of ``macs`` it costs."""
    most = max((box.macs for box in drawn.boxes), default=0)
    return [_size(box, most, macs) for box in drawn.boxes]


def _size(box: Box, most: int, macs: int) -> Size:
    lines = _lines(box, macs)
    width = max(len(line) for line in lines) * _CHARACTER + 2 * _PADDING
    height = len(lines) * _LINE + _PADDING
    if box.fate is Fate.JOINT:
        return Size(width=width + 12, height=height + 6, is_round=True)
    growth = _GROWTH * (box.macs / most) ** 0.5 if most else 0.0
    return Size(width=max(width, 72.0), height=height + growth, is_round=False)


def picture(analysis: Analysis, place: Layout, *, title: str) -> str:
    """The segment graph of an analysis as SVG text.

    Args:
        analysis: Of the model.
        place: Where boxes of given sizes go.
        title: The first line, the model's name.
    """
    model, drawn = analysis.space.model, outline(analysis)
    reach, segments = reach_of(analysis), len(analysis.segments.segments)
    boxes = f", shown as {len(drawn.boxes)} boxes" if drawn.repeats else ""
    about = (
        f"{_short(model.parameters)} parameters, {_short(model.macs)} MACs per sample; at most "
        f"{gone_share(reach.parameters)} of the parameters and {gone_share(reach.macs)} of the "
        "MACs can go",
        f"{len(analysis.graph.vertices):,} operators in {segments:,} segments{boxes}",
    )
    placement = place(drawn, sizes_of(drawn, model.macs))
    return draw(drawn, placement, title=title, about=about, macs=model.macs)


def outcome_picture(analysis: Analysis, solution: Solution, place: Layout, *, title: str) -> str:
    """The segment graph with what a solution erased and narrowed, as SVG text.

    Args:
        analysis: Of the model.
        solution: Of its search space.
        place: Where boxes of given sizes go.
        title: The first line, the model's name.
    """
    model, drawn = analysis.space.model, outline(analysis, solution)
    states = Counter(entry.state for entry in outcomes(analysis, solution))
    about = (
        f"{sum(states.values()):,} segments: {states[State.ERASED]:,} erased, "
        f"{states[State.NARROWER]:,} narrower, {states[State.WHOLE]:,} as they were"
        + (f"; shown as {len(drawn.boxes)} boxes" if drawn.repeats else ""),
    )
    placement = place(drawn, sizes_of(drawn, model.macs))
    return draw(drawn, placement, title=title, about=about, macs=model.macs, legend=_OUTCOME_LEGEND)


def draw(
    drawn: Outline,
    placement: Placement,
    *,
    title: str,
    about: Sequence[str],
    macs: int,
    legend: Legend = _LEGEND,
) -> str:
    """The picture as SVG text.

    Args:
        drawn: What to show.
        placement: Where.
        title: The first line.
        about: The lines below it.
        macs: Multiply-accumulates of the whole model, that shares are of.
        legend: Kinds of boxes and what they are called.
    """
    head = _HEAD + len(about) * _LINE
    width = max(placement.width, _legend_width(legend)) + 2 * _MARGIN
    height = placement.height + head + _MARGIN
    left = _number((width - placement.width) / 2)
    size = f'width="{_number(width)}" height="{_number(height)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {_number(width)} {_number(height)}" role="img">',
            f"<title>{_text(title)}</title>",
            f"<style>{_STYLE}</style>",
            '<rect class="paper" width="100%" height="100%"/>',
            *_head(title, about, legend),
            f'<g transform="translate({left},{_number(head)})">',
            *_frames(drawn, placement),
            *_links(drawn, placement),
            *_boxes(drawn, placement, macs),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _head(title: str, about: Sequence[str], legend: Legend) -> Iterator[str]:
    yield f'<text class="text title" x="{_MARGIN}" y="34">{_text(title, 90)}</text>'
    for number, line in enumerate(about):
        top = 54 + number * _LINE
        yield f'<text class="soft" x="{_MARGIN}" y="{top}">{_text(line, 160)}</text>'
    left, top = _MARGIN, 66 + len(about) * _LINE
    for kind, words in legend:
        if kind == Fate.JOINT.value:
            yield f'<ellipse class="shape {kind}" cx="{left + 10}" cy="{top}" rx="10" ry="7"/>'
        else:
            filled = f"plain {kind}" if kind == "within" else kind
            yield (
                f'<rect class="shape {filled}" x="{_number(left)}" y="{top - 7}" '
                f'width="20" height="14" rx="{7 if kind == Fate.END.value else 4}"/>'
            )
        yield f'<text class="soft" x="{_number(left + 26)}" y="{top + 4}">{words}</text>'
        left += 48 + len(words) * _SOFT
    yield f'<text class="soft" x="{_MARGIN}" y="{top + 26}">{_HINT}</text>'


def _legend_width(legend: Legend) -> float:
    return sum(48 + len(words) * _SOFT for _, words in legend)


def _frames(drawn: Outline, placement: Placement) -> Iterator[str]:
    for repeat, (left, top, right, bottom) in zip(drawn.repeats, placement.frames, strict=True):
        yield (
            f'<rect class="frame" x="{_number(left)}" y="{_number(top)}" '
            f'width="{_number(right - left)}" height="{_number(bottom - top)}" rx="10"/>'
            f'<text class="soft times" x="{_number(left + 8)}" y="{_number(top + 18)}">'
            f"{_TIMES}{repeat.times}</text>"
        )


def _links(drawn: Outline, placement: Placement) -> Iterator[str]:
    for number, points in enumerate(placement.links):
        kind = "link" if number < len(drawn.links) else "link returning"
        first, *rest = (f"{_number(x)},{_number(y)}" for x, y in points)
        yield f'<path class="{kind}" d="M{first} C{" ".join(rest)}"/>{_tip(points[-2], points[-1])}'


def _tip(before: Point, end: Point) -> str:
    """An arrow head: what ``marker`` would draw, in the colour that the page has."""
    dx, dy = end[0] - before[0], end[1] - before[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    dx, dy = dx / length, dy / length
    corners = [
        (end[0] + 7 * dx, end[1] + 7 * dy),
        (end[0] - 3.4 * dy, end[1] + 3.4 * dx),
        (end[0] + 3.4 * dy, end[1] - 3.4 * dx),
    ]
    return f'<path class="tip" d="M{" ".join(f"{_number(x)},{_number(y)}" for x, y in corners)}z"/>'


def _boxes(drawn: Outline, placement: Placement, macs: int) -> Iterator[str]:
    times = {place: repeat.times for repeat in drawn.repeats for place in repeat.boxes}
    sizes = sizes_of(drawn, macs)
    for place, (box, size, (x, y)) in enumerate(
        zip(drawn.boxes, sizes, placement.centres, strict=True)
    ):
        about = "\n".join([*box.about, *_costs(box, macs, times.get(place, 1))])
        yield f"<g><title>{_text(about)}</title>"
        kind = f"shape {box.fate.value}" + (" within" if box.is_within else "")
        if size.is_round:
            yield (
                f'<ellipse class="{kind}" cx="{_number(x)}" cy="{_number(y)}" '
                f'rx="{_number(size.width / 2)}" ry="{_number(size.height / 2)}"/>'
            )
        else:
            yield (
                f'<rect class="{kind}" x="{_number(x - size.width / 2)}" '
                f'y="{_number(y - size.height / 2)}" width="{_number(size.width)}" '
                f'height="{_number(size.height)}" rx="{7 if box.fate is Fate.END else 4}"/>'
            )
        lines = _lines(box, macs)
        top = y - (len(lines) - 1) * _LINE / 2 + 4
        for order, line in enumerate(lines):
            soft = bool(box.parameters[1]) and order == len(lines) - 1
            ink = "bright" if box.fate is Fate.END else "soft" if soft else "text"
            ink += " struck" if box.fate is Fate.GONE and not soft else ""
            yield (
                f'<text class="{ink} middle" x="{_number(x)}" '
                f'y="{_number(top + order * _LINE)}">{_text(line)}</text>'
            )
        yield "</g>"


def _lines(box: Box, macs: int) -> list[str]:
    """The text in a box: its steps, filled into lines, and what it costs."""
    lines: list[str] = [""]
    for step in box.steps:
        word = step if len(step) <= _WORD_MAX else step[: _WORD_MAX - 3] + "..."
        if lines[-1]:
            lines[-1] += ", "
            if len(lines[-1]) + len(word) > _LINE_MAX:
                lines.append("")
        lines[-1] += word
    if len(lines) > _LINES_MAX:
        lines = [*lines[: _LINES_MAX - 2], "...", lines[-1]]
    if box.parameters[1]:
        lines.append(
            _parameters(box) + (f", {_share(box.macs / max(1, macs))} MACs" if box.macs else "")
        )
    return lines


def _costs(box: Box, macs: int, times: int) -> Iterator[str]:
    if box.parameters[1]:
        yield f"{_span(box.parameters)} parameters"
    if box.left is not None and box.left != box.parameters:
        yield f"{_span(box.left)} parameters are left"
    if box.macs:
        yield f"{box.macs:,} MACs per sample, {box.macs / max(1, macs):.2%} of the model"
        if times > 1:
            yield f"in all {times} repetitions together"


def _span(counts: tuple[int, int]) -> str:
    low, high = counts
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _parameters(box: Box) -> str:
    low, high = (_short(count) for count in box.parameters)
    words = low if low == high else f"{low} to {high}"
    if box.left is not None and box.left != box.parameters and box.fate is not Fate.GONE:
        low, high = (_short(count) for count in box.left)
        words += f" {_ARROW} " + (low if low == high else f"{low} to {high}")
    return f"{words} params"


def _share(ratio: float) -> str:
    return f"{ratio:.1%}" if ratio >= 0.001 else "<0.1%"


def _short(count: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(words: str, most: int = 20_000) -> str:
    """Text that can be no markup, without the characters that XML forbids."""
    shown = words if len(words) <= most else words[: most - 3] + "..."
    return escape("".join(c if _is_allowed(c) else "\N{REPLACEMENT CHARACTER}" for c in shown))


def _is_allowed(character: str) -> bool:
    code = ord(character)
    return code in (9, 10) or (
        code >= 32 and not 0xD800 <= code <= 0xDFFF and code not in (0xFFFE, 0xFFFF)
    )
