"""Line and bar charts as SVG text: axes with units, a caption with the legend, a title for ears.

Classes name roles; ``style`` gives them colours, so that charts follow light and dark.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import floor, log10

from exporters.reporting.markup import text

Point = tuple[float, float]

_WIDTH, _HEIGHT = 360.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 10.0, 36.0, 40.0
_TICKS = 4
_LABEL = 6.2  # pixels of a character of 11 px text


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points that are joined, by rising x."""

    title: str
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """What one chart shows.

    Attributes:
        title: What is drawn, in words.
        unit: Of y, for the axis.
        lines: One or two.
        phases: Name, first and last x of each.
        mark: A horizontal line and what it is.
        best: A point that is circled.
        form: How y reads at the axis.
        from_zero: Whether y begins at 0.
    """

    title: str
    unit: str
    lines: Sequence[Line]
    phases: Sequence[tuple[str, float, float]] = ()
    mark: tuple[str, float] | None = None
    best: Point | None = None
    form: Callable[[float], str] = field(default=lambda value: f"{value:g}")
    from_zero: bool = False


def line_chart(chart: LineChart) -> str:
    """The chart as a figure with a caption; nothing where there are no points."""
    points = [point for line in chart.lines for point in line.points]
    if not points:
        return ""
    heights = [y for _, y in points] + ([chart.mark[1]] if chart.mark else [])
    ticks = nice(0.0 if chart.from_zero else min(heights), max(heights))
    frame = _Frame(
        x=(0.0, max(max(x for x, _ in points), 1.0)), y=(min(ticks[0], *heights), ticks[-1])
    )
    body = [
        *_bands(chart, frame),
        *_y_axis(frame, ticks, chart.form),
        *_x_axis(frame),
        f'<text x="2" y="12">{text(chart.unit)}</text>',
        *_marked(chart, frame),
        *_lines(chart, frame),
    ]
    return (
        f'<figure><svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
        f'aria-label="{text(_spoken(chart))}">{"".join(body)}</svg>'
        f"<figcaption>{_legend(chart)}</figcaption></figure>"
    )


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """The range of both axes, and where a value lies on the paper."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = _WIDTH
    height: float = _HEIGHT

    def across(self, value: float) -> float:
        low, high = self.x
        return _LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def down(self, value: float) -> float:
        low, high = self.y
        share = (value - low) / ((high - low) or 1.0)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)


def nice(low: float, high: float) -> list[float]:
    """Round numbers around a range, about as many as fit beside a chart.

    Example:
        >>> nice(0.0, 0.93)
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    magnitude = 10.0 ** floor(log10(span / _TICKS))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude * _TICKS >= span * 0.999)
    first = floor(low / step + 1e-9)
    ticks = [round(first * step, 12)]
    while ticks[-1] < high - 1e-9 * span:
        ticks.append(round((first + len(ticks)) * step, 12))
    return ticks if len(ticks) > 1 else [*ticks, round(ticks[0] + step, 12)]


def _bands(chart: LineChart, frame: _Frame) -> Iterator[str]:
    top, bottom = _TOP, frame.height - _BOTTOM
    for number, (words, first, last) in enumerate(chart.phases):
        left, right = frame.across(first), frame.across(last)
        if number % 2:
            yield (
                f'<rect class="band" x="{left:.1f}" y="{top:g}" width="{right - left:.1f}" '
                f'height="{bottom - top:g}"/>'
            )
        if len(words) * _LABEL < right - left:
            middle = (left + right) / 2
            yield f'<text class="middle" x="{middle:.1f}" y="{top - 4:g}">{text(words)}</text>'


def _y_axis(frame: _Frame, ticks: Sequence[float], form: Callable[[float], str]) -> Iterator[str]:
    for tick in ticks:
        y = frame.down(tick)
        yield (
            f'<line class="grid" x1="{_LEFT:g}" x2="{frame.width - _RIGHT:g}" y1="{y:.1f}" '
            f'y2="{y:.1f}"/><text x="{_LEFT - 5:g}" y="{y + 4:.1f}" text-anchor="end">'
            f"{text(form(tick))}</text>"
        )


def _x_axis(frame: _Frame, title: str = "training step") -> Iterator[str]:
    bottom = frame.height - _BOTTOM
    yield (
        f'<line class="axis" x1="{_LEFT:g}" x2="{frame.width - _RIGHT:g}" y1="{bottom:g}" '
        f'y2="{bottom:g}"/>'
    )
    for tick in nice(*frame.x):
        if tick <= frame.x[1]:
            yield (
                f'<text x="{frame.across(tick):.1f}" y="{bottom + 14:g}" text-anchor="middle">'
                f"{tick:,.6g}</text>"
            )
    middle = (_LEFT + frame.width - _RIGHT) / 2
    yield f'<text class="middle" x="{middle:g}" y="{frame.height - 6:g}">{text(title)}</text>'


def _marked(chart: LineChart, frame: _Frame) -> Iterator[str]:
    if chart.mark is None:
        return
    y = frame.down(chart.mark[1])
    right = frame.width - _RIGHT
    yield f'<line class="mark" x1="{_LEFT:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _lines(chart: LineChart, frame: _Frame) -> Iterator[str]:
    for number, line in enumerate(chart.lines):
        places = [(frame.across(x), frame.down(y)) for x, y in line.points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="s{number}" points="{joined}"/>'
        if len(places) <= 60:
            for (x, y), (step, value) in zip(places, line.points, strict=True):
                yield (
                    f'<circle class="s{number}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"><title>'
                    f"step {step:g}: {text(chart.form(value))}</title></circle>"
                )
    if chart.best is not None:
        x, y = chart.best
        yield f'<circle class="best" cx="{frame.across(x):.1f}" cy="{frame.down(y):.1f}" r="5.5"/>'


def _legend(chart: LineChart) -> str:
    keys = ("key-after", "key-second")
    parts = [
        f'<span class="key {key}"></span>{text(line.title)}'
        for key, line in zip(keys, chart.lines, strict=False)
    ]
    if chart.mark is not None:
        parts.append(f'<span class="key key-mark"></span>{text(chart.mark[0])}')
    if chart.best is not None:
        parts.append(f"; circled: the weights that were kept (step {chart.best[0]:,g})")
    return "".join(parts)


def _spoken(chart: LineChart) -> str:
    ends = [
        f"{line.title} from {chart.form(line.points[0][1])} to {chart.form(line.points[-1][1])}"
        for line in chart.lines
        if line.points
    ]
    return f"{chart.title} over training steps: {'; '.join(ends)}"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One group: a name and two heights."""

    title: str
    before: float
    after: float


def bar_chart(bars: Sequence[Bar], *, title: str, unit: str, across: str) -> str:
    """Pairs of bars, the later one in front of the earlier one.

    Args:
        bars: From left to right.
        title: What is drawn, in words.
        unit: Of the heights.
        across: What the bars are, for the lower axis.
    """
    ticks = nice(0.0, max((bar.before for bar in bars), default=1.0))
    frame = _Frame(x=(0.0, float(len(bars))), y=(0.0, ticks[-1]), width=800.0, height=260.0)
    slot = (frame.width - _LEFT - _RIGHT) / max(1, len(bars))
    body = [*_y_axis(frame, ticks, lambda value: f"{value:,g}")]
    for number, bar in enumerate(bars):
        left = frame.across(number) + slot * 0.1
        body.append(f"<g><title>{text(bar.title)}</title>")
        for kind, value in (("before", bar.before), ("after", bar.after)):
            y = frame.down(value)
            body.append(
                f'<rect class="{kind}" x="{left:.2f}" y="{y:.1f}" width="{slot * 0.8:.2f}" '
                f'height="{frame.height - _BOTTOM - y:.1f}"/>'
            )
        body.append("</g>")
    body += [*_x_axis(frame, across), f'<text x="2" y="12">{text(unit)}</text>']
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="chart">'
        f'<svg class="chart wide" viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" '
        f'aria-label="{text(title)}">{"".join(body)}</svg></div>'
        '<p class="quiet"><span class="key key-before"></span>before'
        '<span class="key key-after"></span>after</p>'
    )
