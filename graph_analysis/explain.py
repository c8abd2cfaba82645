"""The search space in words and columns, for people and for golden tests."""

import math
from collections.abc import Iterator, Sequence

from graph_analysis.findings import Findings, GroupCosts, StaysBecause, count_by, findings_of
from graph_analysis.pipeline import Analysis

_ROWS = 20  # of a table, unless everything is asked for
_PLACES = 2  # branches named for each reason
_NAME_MAX = 48  # characters of a group's id, unless everything is asked for
_COLUMNS = (
    "group",
    "units",
    "ch/unit",
    "MACs/unit",
    "params/unit",
    "MACs",
    "share",
    "params",
    "share",
    "goes with",
)
_LEFT = (0, len(_COLUMNS) - 1)  # columns of words


def explain(analysis: Analysis, *, everything: bool = False) -> str:
    """What can go at most, a table of groups with cost and share, what stays and why.

    Args:
        analysis: Of the model.
        everything: Long tables and names in full.
    """
    found = findings_of(analysis)
    lines = [
        *_head(analysis, found),
        "",
        *_table(found.groups, everything=everything),
        *_refused(analysis, everything=everything),
        "",
        *_stays(found.stays, len(analysis.space.frozen), everything=everything),
    ]
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """A line that cannot command a terminal: names in a model are input from strangers."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def gone_share(remains: float) -> str:
    """The share that goes, rounded down: what is said to be within reach is."""
    return f"{math.floor((1 - remains) * 1000) / 1000:.1%}"


def _head(analysis: Analysis, found: Findings) -> Iterator[str]:
    space, options, reach = analysis.space, analysis.options, found.reach
    model, memory = space.model, found.activations
    made = f", made by {model.producer}" if model.producer else ""
    yield f"opset {model.opset}{made}"
    yield (
        f"{model.parameters:,} parameters in {_binary(found.bytes)} of weights, "
        f"{model.macs:,} MACs per sample"
    )
    yield (
        f"activations: {_binary(memory.total)} written per sample, "
        f"at most {_binary(memory.peak)} of them alive at once"
    )
    if memory.unknown:
        words = _counted(len(memory.unknown), "tensors", "tensor")
        yield f"  without {words} whose shape is not known"
    yield from _bindings(analysis)
    kinds = count_by(space.groups, lambda _: 1)
    units = count_by(space.groups, lambda group: group.units)
    groups = [
        _counted(count, f"{kind} groups", f"{kind} group")
        + (f" of {units[kind]:,} units" if units[kind] > count else "")
        for kind, count in kinds.items()
    ]
    yield f"{len(space.segments)} segments; {', '.join(groups) or 'no groups'}"
    yield f"{found.covered_ratio:.1%} of the parameters belong to a channel or head group"
    conditions = [
        *([f"widths in multiples of {options.multiple}"] if options.multiple > 1 else []),
        *([f"{options.min_units} units per group kept"] if options.min_units > 1 else []),
    ]
    yield (
        f"at most {gone_share(reach.macs)} of the MACs, "
        f"{gone_share(reach.parameters)} of the parameters "
        f"and {gone_share(reach.bytes)} of the bytes can go"
        + (f" ({', '.join(conditions)})" if conditions else "")
    )


def _bindings(analysis: Analysis) -> list[str]:
    """Which lengths were assumed for free axes: costs hold for these, the groups for all."""
    graph = analysis.graph
    return [
        f"free axes of input {name!r} bound to {list(graph.shape(name) or ())}; "
        "--input-shape sets others"
        for name in graph.inputs
        if any(axis > 0 for axis in graph.free.get(name, ()))
    ]


def _table(groups: Sequence[GroupCosts], *, everything: bool) -> list[str]:
    if not groups:
        return ["nothing can be removed; the reasons are below"]
    shown = groups if everything else groups[:_ROWS]
    rows = [_COLUMNS, *(_row(entry, everything=everything) for entry in shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if len(shown) < len(groups):
        rest = len(groups) - len(shown)
        words = _counted(rest, "groups with smaller shares", "group with a smaller share")
        lines.append(f"... and {words}; --all shows the whole table")
    return lines


def _row(entry: GroupCosts, *, everything: bool) -> tuple[str, ...]:
    group = entry.group
    return (
        _name(group.id, everything=everything),
        str(group.units),
        str(group.channels_per_unit),
        _short(group.macs),
        _short(group.parameters),
        _short(entry.macs),
        f"{entry.macs_ratio:.2%}",
        _short(entry.parameters),
        f"{entry.parameters_ratio:.2%}",
        _name((group.parent or "").removeprefix("operator:"), everything=everything),
    )


def _refused(analysis: Analysis, *, everything: bool) -> Iterator[str]:
    """Branches of joints that are no structures, by reason, with the operators where they end."""
    if not analysis.refused:
        return
    by_reason: dict[str, list[str]] = {}
    for entry in analysis.refused:
        pieces = analysis.segments.by_id[entry.segment].pieces
        ends = dict.fromkeys((pieces[0].members[0].name, pieces[-1].members[-1].name))
        span = " to ".join(_name(end, everything=everything) for end in ends)
        by_reason.setdefault(entry.reason, []).append(f"{entry.segment} ({span})")
    yield ""
    yield f"branches that stay whole ({len(analysis.refused)}, by reason):"
    reasons = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    for reason, places in reasons if everything else reasons[:_ROWS]:
        yield f"  {len(places):>5}  {reason}"
        shown = places if everything else places[:_PLACES]
        yield from (f"         {place}" for place in shown)
        if len(shown) < len(places):
            yield f"         ... and {len(places) - len(shown)} more; --all shows them"
    if len(reasons) > _ROWS and not everything:
        yield f"  ... and {len(reasons) - _ROWS} more reasons; --all shows them"


def _stays(stays: Sequence[StaysBecause], entries: int, *, everything: bool) -> Iterator[str]:
    held = sum(entry.parameters for entry in stays)
    count = _counted(entries, "entries", "entry")
    yield f"what stays ({count} with {held:,} parameters, by reason):"
    shown = stays if everything else stays[:_ROWS]
    width = max((len(f"{entry.parameters:,}") for entry in shown), default=0)
    for entry in shown:
        more = f" (and {entry.places - 1} like it)" if entry.places > 1 else ""
        yield f"  {entry.entries:>5}  {entry.parameters:>{width},} params  {entry.reason}{more}"
    if len(shown) < len(stays):
        yield f"  ... and {len(stays) - len(shown)} more reasons; --all shows them"


def _name(words: str, *, everything: bool) -> str:
    """A name that fits a column: of a long one its beginning and its more telling end."""
    if everything or len(words) <= _NAME_MAX:
        return words
    head = words.partition(":")[0] + ":" if ":" in words[:10] else ""
    return f"{head}...{words[len(head) + 3 - _NAME_MAX :]}"


def _counted(count: int, many: str, one: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _short(count: int) -> str:
    """A count in three digits, exact below ten thousand."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= max(unit, 10_000):
            return f"{count / unit:#.3g}".rstrip(".") + f" {name}"
    return f"{count:,}"


def _binary(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"
