"""What was removed and what stayed: widths of groups, the segment graph, reasons."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from exporters.reporting.charts import Bar, bar_chart
from exporters.reporting.markup import (
    ARROW,
    NONE,
    count,
    folded,
    name,
    row,
    section,
    share,
    shortened,
    table,
    text,
)

Report = Mapping[str, Any]
_OPEN_ROWS = 24  # a table this short is shown at once
_GROUPS, _SEGMENTS, _ERASED, _REASONS, _EXAMPLES = 800, 500, 200, 100, 6
_BARS = 1000
_PICTURE_MOST_BYTES = 1_500_000


def groups(report: Report) -> str:
    """Widths as bars, and all groups as a table."""
    found = report["groups"]
    removed = ", ".join(
        f"{number:,} {kind}{'s' if number != 1 else ''}"
        for kind, number in report["removed"].items()
        if number
    )
    narrower = sum(0 < group["after"] < group["before"] for group in found)
    wide = [group for group in found if group["kind"] != "operator"]
    bars = [
        Bar(
            title=f"{shortened(group['id'])}: {group['before']} {ARROW} {group['after']}",
            before=group["before"],
            after=group["after"],
        )
        for group in wide[:_BARS]
    ]
    chart = ""
    if bars:
        words = f"Width of {len(bars)} groups before and after, in the order of the search space"
        chart = bar_chart(bars, title=words, unit="units", across="group (its number)")
    return section(
        "groups",
        "Groups",
        f"<p>Removed: {text(removed or 'nothing')}; {narrower:,} of {len(found):,} groups became "
        "narrower. A unit is a channel or a head; an operator group goes whole.</p>",
        chart,
        _left_out(len(bars), len(wide)),
        folded(
            f"all {len(found):,} groups", _group_table(report), is_open=len(found) <= _OPEN_ROWS
        ),
    )


def _group_table(report: Report) -> str:
    found = report["groups"]
    shown = found[:_GROUPS]
    has_saliency = any(group["saliency"] for group in shown)
    titles = ["group", "kind", "before", "after", "left", "MACs/unit", "params/unit"]
    titles += ["saliency from", "median", "removed up to"] if has_saliency else []
    numbers = range(2, len(titles))
    rows = (_group_row(group, has_saliency=has_saliency) for group in shown)
    used = report["training_summary"].get("used", {}).get("comparison")
    how = {
        "loss": "rise of the loss per share of the budget saved",
        "relative": "relative to the mean of its group",
    }.get(str(used), "as the search compared units")
    caption = (
        f"What is cut as one. Saliency: {how}, at the last decision that a unit took part in; low "
        "goes first."
        if has_saliency
        else "What is cut as one."
    )
    return (
        f'<div class="tall">{table(caption, titles, rows, numbers)}</div>'
        f"{_left_out(len(shown), len(found))}"
    )


def _group_row(group: Mapping[str, Any], *, has_saliency: bool) -> str:
    with_ = group["erased_with"]
    gone = f"<br>erased with {name(with_)}" if with_ else ""
    cells = [
        name(group["id"]) + gone,
        text(group["kind"]),
        f"{group['before']:,}",
        f"{group['after']:,}",
        share(group["after"] / group["before"]),
        count(group["macs"]),
        count(group["parameters"]),
    ]
    if has_saliency:
        saliency = group["saliency"] or {}
        cells += [_figure(saliency.get(key)) for key in ("lowest", "median", "highest_removed")]
    return row(cells, right=range(2, len(cells)), kind="" if group["after"] else "erased")


def _figure(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def segments(report: Report, picture: str | None) -> str:
    """The segment graph with what went, and its segments as a table.

    Args:
        report: The document.
        picture: SVG text of the graph, from our own drawing; None where there is none.
    """
    found = report["segments"]
    states = Counter(entry["state"] for entry in found)
    words = (
        f"<p>{len(found):,} segments: {states['erased']:,} erased, "
        f"{states['narrower']:,} narrower, "
        f"{states['whole']:,} as they were.</p>"
        if found
        else ""
    )
    return section(
        "graph",
        "Segment graph",
        words,
        _picture(picture),
        _erased(report),
        folded(f"all {len(found):,} segments", _segment_table(report)) if found else "",
    )


def _picture(picture: str | None) -> str:
    if picture is None:
        return '<p class="quiet">The picture was not drawn: that needs the extra "picture".</p>'
    if len(picture.encode()) > _PICTURE_MOST_BYTES:
        return '<p class="quiet">The picture is too large for this page.</p>'
    return (
        f'<div class="picture tall" tabindex="0" role="group" aria-label="segment graph">{picture}'
        '</div><p class="quiet">Dashed boxes were erased; names and figures show where the mouse '
        "rests, and in the table below.</p>"
    )


def _erased(report: Report) -> str:
    found = report["erased"]
    if not found:
        return "<p>No operator structure was erased.</p>"
    rows = (
        row(
            [
                name(entry["id"]),
                f"{len(entry['nodes']):,}",
                f"{entry['parameters']:,}",
                _ends(entry["nodes"]),
            ],
            right=(1, 2),
        )
        for entry in found[:_ERASED]
    )
    titles = ("structure", "nodes", "parameters", "from, to")
    made = table("Operator structures that were erased whole", titles, rows, (1, 2))
    rest = _left_out(min(len(found), _ERASED), len(found))
    return folded(
        f"{len(found):,} erased structures",
        f'<div class="tall">{made}</div>{rest}',
        is_open=len(found) <= _OPEN_ROWS,
    )


def _segment_table(report: Report) -> str:
    found = report["segments"]
    rows = (
        row(
            [
                name(entry["id"]),
                _ends(entry["vertices"]),
                text("joint, " if entry["joint"] else "") + text(entry["state"]),
                _change(entry["parameters"]),
                _change(entry["macs"]),
            ],
            right=(3, 4),
            kind="erased" if entry["state"] == "erased" else "",
        )
        for entry in found[:_SEGMENTS]
    )
    titles = ("segment", "operators", "state", "parameters", "MACs")
    made = table("Chains of operators between branchings", titles, rows, (3, 4))
    return f'<div class="tall">{made}</div>' + _left_out(min(len(found), _SEGMENTS), len(found))


def _change(change: Mapping[str, int]) -> str:
    before, after = count(change["before"]), count(change["after"])
    return before if change["before"] == change["after"] else f"{before} {ARROW} {after}"


def _ends(names: list[str]) -> str:
    if not names:
        return NONE
    if len(names) <= 2:
        return " ".join(name(entry) for entry in names)
    return f"{name(names[0])} ... {name(names[-1])} ({len(names):,})"


def frozen(report: Report) -> str:
    """What stays as it is, by reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in report["frozen"]:
        by_reason[entry["reason"]].append(entry["name"])
    if not by_reason:
        return section("stays", "What stays, and why", "<p>Everything belonged to a group.</p>")
    reasons = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    rows = (
        row([text(reason, 300), f"{len(names):,}", "".join(_examples(names))], right=(1,))
        for reason, names in reasons[:_REASONS]
    )
    made = table(
        "Weights and tensors that no group may cut", ("reason", "how many", "which"), rows, (1,)
    )
    content = (
        f'<div class="tall">{made}</div>{_left_out(min(len(reasons), _REASONS), len(reasons))}'
    )
    if len(reasons) > _OPEN_ROWS:
        content = folded(f"{len(reasons):,} reasons", content)
    return section("stays", "What stays, and why", content)


def _examples(names: list[str]) -> Iterator[str]:
    yield " ".join(name(entry) for entry in names[:_EXAMPLES])
    if len(names) > _EXAMPLES:
        yield f" and {len(names) - _EXAMPLES:,} more"


def _left_out(shown: int, all_: int) -> str:
    if shown >= all_:
        return ""
    return f'<p class="quiet">The first {shown:,} of {all_:,}; report.json holds all.</p>'
