"""Accuracy against MACs and against latency, as SVG written by hand: no library for lines."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.peers.records import Row, grouped, spread_of

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 620, 380, 60, 34, 170, 44
_COLOURS = ("#c0392b", "#2471a3", "#7d3c98", "#117864", "#b9770e", "#515a5a", "#839192", "#d35400")
_LEAST_CHANCE = 0.5  # of the best accuracy: what lies below would squeeze all else together


def write_plots(rows: Sequence[Row], folder: Path) -> None:
    """One file per data set, network and cost; methods without the product's loss left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for (data, network), by_method in grouped(rows).items():
        shown = {
            method: by_ratio
            for method, by_ratio in sorted(by_method.items(), key=lambda m: (m[0] != "ours", m[0]))
            if method != "original" and "+" not in method and ":" not in method
        }
        for cost, label in (("macs_ratio", "MACs left"), ("latency_ratio", "latency left")):
            title = f"{network}, {data}: test accuracy (%) against {label} (share, log scale)"
            points = {method: _points(by_ratio, cost) for method, by_ratio in shown.items()}
            points = {method: found for method, found in points.items() if found}
            if points:
                path = folder / f"peers-{network}-{data}-{cost.removesuffix('_ratio')}.svg"
                path.write_text(_svg(title, points))


def _points(by_ratio: Mapping[float, list[Row]], cost: str) -> list[tuple[float, float, float]]:
    """Mean cost, mean accuracy and its spread at each ratio."""
    found = []
    for _, rows in sorted(by_ratio.items()):
        good = [row for row in rows if row["accuracy"] is not None]
        if good:
            right = [100 * row["accuracy"] for row in good]
            mean_cost = statistics.fmean(row[cost] for row in good)
            found.append((mean_cost, statistics.fmean(right), spread_of(right)))
    return found


def _svg(title: str, curves: Mapping[str, list[tuple[float, float, float]]]) -> str:
    """The picture of the curves; points far below the best are drawn at the lower edge."""
    every = [point for points in curves.values() for point in points]
    top = math.ceil(max(mean + spread for _, mean, spread in every))
    low = min(mean for _, mean, _ in every if mean > _LEAST_CHANCE * top)
    bottom = math.floor(low - 1)
    left, right = (math.log(pick(cost for cost, _, _ in every)) for pick in (min, max))

    def place(cost: float, value: float) -> tuple[float, float]:
        x = (math.log(cost) - left) / max(right - left, 1e-9)
        y = (max(value, bottom) - bottom) / (top - bottom)
        wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + 8 + x * (wide - 16), _TOP + (1 - y) * high

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="8" y="18" font-size="13">{escape(title)}</text>',
    ]
    edge = _WIDTH - _RIGHT
    for value in range(bottom, top + 1, max(1, (top - bottom) // 8)):
        y = place(math.exp(left), value)[1]
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{edge}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for cost in (1.0, 0.5, 0.25, 0.125, 0.0625):
        if left - 0.2 <= math.log(cost) <= right + 0.2:
            x = place(cost, bottom)[0]
            parts.append(
                f'<text x="{x:.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{cost:g}</text>'
            )
    for number, (method, points) in enumerate(curves.items()):
        parts += _curve(method, [(*place(c, m), place(c, m - s)[1] - place(c, m)[1])
                                 for c, m, s in points], number)  # fmt: skip
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curve(method: str, places: Sequence[tuple[float, float, float]], number: int) -> list[str]:
    """A line with its points, spread as bars, and its entry beside the picture."""
    colour, width = _COLOURS[number % len(_COLOURS)], 2.5 if method == "ours" else 1.2
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    style = f'fill="none" stroke="{colour}" stroke-width="{width}"'
    parts = [f'<polyline points="{line}" {style}/>']
    for x, y, bar in places:
        parts.append(f'<path d="M{x:.1f} {y - bar:.1f}V{y + bar:.1f}" {style}/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>')
    x, y = _WIDTH - _RIGHT + 12, _TOP + 14 + 17 * number
    parts.append(f'<path d="M{x} {y - 4}h18" {style}/>')
    parts.append(f'<text x="{x + 24}" y="{y}">{escape(method)}</text>')
    return parts
