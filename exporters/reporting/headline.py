"""The head of the page: cards with before, after and what that comes to, and the latencies."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from exporters.reporting.markup import (
    ARROW,
    MINUS,
    count,
    milliseconds,
    row,
    section,
    share,
    size,
    table,
    text,
)

Report = Mapping[str, Any]
_ERRORS = ("rmse", "mae")  # where less is better
_BUSY = 1.5  # processes per core; measuring alone keeps every core busy once


def headline(report: Report) -> str:
    """Cards: quality, MACs, parameters, bytes, memory, latency; then the table of latencies."""
    return section(
        "headline",
        "Before and after",
        f'<ul class="cards">{"".join(_cards(report))}</ul>',
        _latencies(report),
        _budget(report),
    )


def _cards(report: Report) -> Iterator[str]:
    before, after = report["model"]["before"], report["model"]["after"]
    yield _quality_card(report)
    yield _card("MACs per sample", before["macs"], after["macs"], count, "fewer")
    yield _card("Parameters", before["parameters"], after["parameters"], count, "fewer")
    yield _card("File size", before["bytes"], after["bytes"], size, "smaller")
    if before["latency"] and after["latency"]:
        old, new = before["latency"][0], after["latency"][0]
        title = f"Latency, median ({_setting(old)})"
        yield _card(title, old["p50_ms"], new["p50_ms"], milliseconds, "faster", "slower")
    if before["peak_memory"] and after["peak_memory"]:
        batch = before["latency"][0]["batch"] if before["latency"] else 1
        title = f"Peak memory (batch {batch}, 1 thread)"
        yield _card(title, before["peak_memory"], after["peak_memory"], size, "less")


def _card(
    title: str,
    before: float,
    after: float,
    form: Callable[[float], str],
    less: str,
    more: str = "more",
) -> str:
    """One quantity that should shrink."""
    left = after / before if before else None
    note = "nothing to compare"
    if left is not None and left > 0:
        factor = f"{1 / left:.2f} times {less}" if left <= 1 else f"{left:.2f} times {more}"
        note = f"{share(left)} left, {factor}" if abs(left - 1) > 5e-4 else "as it was"
    return (
        f'<li class="card"><h3>{text(title)}</h3><p class="big"><small>{form(before)}</small> '
        f'{ARROW} {form(after)}</p>{_bar(left)}<p class="note">{note}</p></li>'
    )


def _bar(left: float | None) -> str:
    if left is None:
        return ""
    width = max(0.0, min(1.0, left)) * 100
    return (
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="before" width="100" height="8"/>'
        f'<rect class="after" width="{width:.1f}" height="8"/></svg>'
    )


def _quality_card(report: Report) -> str:
    old, new, title, is_share = quality(report)
    where = f" ({report['evaluated_on']} samples)" if report["evaluated_on"] else ""
    if old is None or new is None:
        return (
            '<li class="card"><h3>Accuracy</h3><p class="big">not measured</p>'
            '<p class="note">there were no labels to measure it by</p></li>'
        )
    form = share if is_share else "{:.4g}".format
    change = new - old
    is_worse = change > 0 if title in _ERRORS else change < 0
    sign = MINUS if change < 0 else "+"
    shown = f"{sign}{100 * abs(change):.2f} points" if is_share else f"{sign}{abs(change):.4g}"
    kind = "bad" if is_worse else "good"
    return (
        f'<li class="card"><h3>{text(title)}{where}</h3><p class="big"><small>{form(old)}</small> '
        f'{ARROW} {form(new)}</p><p class="note {kind}">'
        f"{shown if change else 'no change'}</p></li>"
    )


def quality(report: Report) -> tuple[float | None, float | None, str, bool]:
    """Before, after, what it is called, and whether it is a share of right answers."""
    before, after = report["model"]["before"], report["model"]["after"]
    if before["accuracy"] is not None and after["accuracy"] is not None:
        title = (before["measure"] or "accuracy").replace("-", " ")
        return before["accuracy"], after["accuracy"], title.capitalize(), True
    title = before["measure"] or "accuracy"
    return before["value"], after["value"], title, False


def _latencies(report: Report) -> str:
    old, new = report["model"]["before"]["latency"], report["model"]["after"]["latency"]
    if not old or not new:
        return '<p class="quiet">Latency was not measured.</p>'
    machine = report["machine"]
    where = (
        f" on {text(machine.get('processor', 'this machine'))} with {machine['cores']} cores"
        if machine.get("cores")
        else ""
    )
    macs = share(report["ratios"]["macs"])
    caption = (
        f"Time of one run in ONNX Runtime{where}; both models in turns, so that drift of the "
        f"machine cancels. Of the MACs {macs} are left: what is measured need not follow them."
    )
    rows = [
        row(
            [
                f"{before['batch']}", f"{before['threads']}",
                milliseconds(before["p50_ms"]), milliseconds(after["p50_ms"]),
                share(after["p50_ms"] / before["p50_ms"]),
                milliseconds(before["p95_ms"]), milliseconds(after["p95_ms"]),
                f"{before['runs']}",
            ],
            right=range(2, 8),
        )
        for before, after in zip(old, new, strict=False)
    ]  # fmt: skip
    titles = ("batch", "threads", "median before", "after", "left", "p95 before", "after", "runs")
    return table(caption, titles, rows, right=range(2, 8)) + _load_note(machine)


def _load_note(machine: Mapping[str, Any]) -> str:
    load, cores = machine.get("load"), machine.get("cores")
    if load is None or not cores or load <= _BUSY * cores:
        return ""
    return (
        f'<p class="bad">The machine was busy with other work meanwhile ({load:.1f} processes '
        f"wanted {cores} cores): these times are uncertain. Measure again with secateur bench.</p>"
    )


def _budget(report: Report) -> str:
    """What a budget of latency came to, where that was asked for."""
    share_ = report["training_summary"].get("latency_share")
    if not share_:
        return ""
    return (
        f"<p>Asked for was {share(share_['target'])} of the original's time (batch "
        f"{share_['batch']}, threads {share_['threads']}); measured {share(share_['median'])}, "
        f"between {share(share_['low'])} and {share(share_['high'])} in {share_['rounds']:,} "
        "rounds.</p>"
    )


def _setting(latency: Mapping[str, Any]) -> str:
    threads = latency["threads"]
    return f"batch {latency['batch']}, {threads} thread{'s' if threads != 1 else ''}"
