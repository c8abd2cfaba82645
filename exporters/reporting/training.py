"""How training went: loss, quality and what remained over steps, drawn and as a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from exporters.reporting.charts import Line, LineChart, Point, line_chart
from exporters.reporting.markup import NONE, folded, row, section, share, table, text

Report = Mapping[str, Any]
_ROWS = 200
_TITLES = {"macs": "MACs", "parameters": "parameters", "bytes": "bytes", "latency": "latency"}
_TARGETS = {
    "target_macs": "macs",
    "target_params": "parameters",
    "target_bytes": "bytes",
    "target_latency": "latency",
}


def training(report: Report) -> str:
    """The curves and, folded, their figures."""
    history, summary = report["training"], report["training_summary"]
    if not history:
        return section("training", "Training", "<p>Nothing was recorded while training.</p>")
    charts = [line_chart(chart) for chart in _charts(report)]
    facts = [f"{summary['steps']:,} steps"] if isinstance(summary.get("steps"), int) else []
    facts += [f"on {summary['device']}"] if summary.get("device") else []
    facts += [
        f"{key.replace('_', ' ')} {value:g}"
        if isinstance(value, float)
        else f"{key.replace('_', ' ')} {value}"
        for key, value in summary.get("used", {}).items()
        if value is not None
    ]
    where = "validation samples" if summary.get("best_loss") is not None else "the last batch"
    return section(
        "training",
        "Training",
        f"<p>{text(', '.join(facts))}. Measured on {where}. {_spans(history)}</p>",
        f'<div class="charts">{"".join(charts)}</div>',
        folded(f"figures of all {len(history)} evaluations", _table(history)),
    )


def _spans(history: Sequence[Mapping[str, Any]]) -> str:
    """The phases in words: a chart has no room for the name of a short one."""
    found = [f"{name} to step {last:,.0f}" for name, _, last in _phases(history)]
    return f"Phases: {text(', '.join(found))}." if found else ""


def _charts(report: Report) -> Iterator[LineChart]:
    history, summary = report["training"], report["training_summary"]
    phases, best = list(_phases(history)), summary.get("best_step")
    losses = _points(history, "loss")
    yield LineChart(
        title="loss",
        unit="loss",
        lines=[Line(title="loss", points=losses)],
        phases=phases,
        best=_at(losses, best),
        from_zero=bool(losses) and min(y for _, y in losses) >= 0,
    )
    yield from _quality_charts(history, summary, phases)
    yield _remaining_chart(report, phases)


def _quality_charts(
    history: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    phases: Sequence[tuple[str, float, float]],
) -> Iterator[LineChart]:
    points = _points(history, "accuracy")
    title, original, form = "accuracy", summary.get("original_accuracy"), share
    if not points:
        points, original = _points(history, "value"), summary.get("original_value")
        title, form = str(history[-1].get("measure")), "{:.4g}".format
    if points:
        lines = [Line(title=title, points=points)]
        averaged = _points(history, "averaged_accuracy")
        lines += [Line(title="of averaged weights", points=averaged)] if averaged else []
        yield LineChart(
            title=title,
            unit=title,
            lines=lines,
            phases=phases,
            mark=("original", original) if original is not None else None,
            best=_at(points, summary.get("best_step")),
            form=_short(form),
        )


def _short(form: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: form(value).replace(" ", "\N{NARROW NO-BREAK SPACE}")


def _remaining_chart(report: Report, phases: Sequence[tuple[str, float, float]]) -> LineChart:
    settings = report["configuration"]
    name, quantity = next(
        ((key, _TARGETS[key]) for key in _TARGETS if settings.get(key) is not None),
        ("target_macs", "macs"),
    )
    start = (0.0, 1.0)
    budget = [start, *_points(report["training"], "remaining")]
    lines = [Line(title=f"{_TITLES[quantity]} left", points=budget)]
    macs = _points(report["training"], "macs")
    if quantity != "macs" and macs:
        lines.append(Line(title="MACs left", points=[start, *macs]))
    target = settings.get(name)
    return LineChart(
        title="share of the original that is left",
        unit="left of the original",
        lines=lines,
        phases=phases,
        mark=("target", float(target)) if target is not None else None,
        form=lambda value: f"{100 * value:.3g}\N{NARROW NO-BREAK SPACE}%",
        from_zero=True,
    )


def _points(history: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    return [
        (float(entry["step"]), float(entry[key])) for entry in history if entry.get(key) is not None
    ]


def _at(points: Sequence[Point], step: float | None) -> Point | None:
    return next((point for point in points if point[0] == step), None)


def _phases(history: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float, float]]:
    """Stretches of evaluations in the same phase; one reaches back to the evaluation before it.

    What came before the first evaluation is not known.
    """
    first = last = float(history[0]["step"])
    name: str | None = None
    for entry in history:
        phase = str(entry.get("phase", ""))
        if name is not None and phase != name:
            yield name, first, last
            first = last
        name, last = phase, float(entry["step"])
    if name is not None:
        yield name, first, last


def _table(history: Sequence[Mapping[str, Any]]) -> str:
    shown = history[-_ROWS:]
    keys = [
        key
        for key in ("step", "phase", "loss", "accuracy", "value", "remaining", "macs", "lr")
        if any(entry.get(key) is not None for entry in shown)
    ]
    numbers = [place for place, key in enumerate(keys) if key != "phase"]
    rows = (row([_cell(entry.get(key), key) for key in keys], right=numbers) for entry in shown)
    left_out = f"the last {len(shown)} of {len(history)} " if len(shown) < len(history) else ""
    return f'<div class="tall">{table(f"{left_out}evaluations", keys, rows, numbers)}</div>'


def _cell(value: object, key: str) -> str:
    if value is None:
        return NONE
    if key in ("accuracy", "remaining", "macs") and isinstance(value, int | float):
        return share(value)
    return text(f"{value:.4g}") if isinstance(value, float) else text(value)
