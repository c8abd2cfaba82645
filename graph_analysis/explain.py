"""The search space in words and columns, for people and for golden tests."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import Group, GroupKind

_FROZEN_SHOWN = 12


def explain(analysis: Analysis) -> str:
    """A table of groups with cost and share, what stays and why, and what share can go."""
    space = analysis.space
    summary = space.model
    lines = [
        f"opset {summary.opset}, {summary.parameters:,} parameters, "
        f"{summary.macs:,} MACs per sample",
        *_bindings(analysis),
        f"{len(space.segments)} segments, "
        + ", ".join(f"{n} {kind} groups" for kind, n in sorted(_kinds(space.groups).items())),
        f"{covered_share(analysis):.1%} of the parameters belong to a channel or head group",
        "",
        *_table(space.groups, summary.macs, summary.parameters),
    ]
    if analysis.refused:
        lines += ["", "segments that cannot be erased exactly:"]
        lines += [f"  {entry.segment}: {entry.reason}" for entry in analysis.refused]
    lines += ["", *_frozen(analysis)]
    return "\n".join(lines)


def _bindings(analysis: Analysis) -> list[str]:
    """Which lengths were assumed for free axes: costs hold for these, the groups for all."""
    graph = analysis.graph
    return [
        f"free axes of input {name!r} bound to {list(graph.shape(name) or ())}; "
        "--input-shape sets others"
        for name in graph.inputs
        if any(axis > 0 for axis in graph.free.get(name, ()))
    ]


def covered_share(analysis: Analysis) -> float:
    """Share of parameters that lie in a slice of some channel or head group (0..1)."""
    graph, covered, total = analysis.graph, 0, 0
    places: dict[str, dict[int, list[int]]] = {}
    for group in analysis.space.groups:
        if group.kind is GroupKind.OPERATOR:
            continue
        for slices in group.cut:
            axis = places.setdefault(slices.initializer, {}).setdefault(slices.axis, [])
            for indices in slices.unit_indices:
                axis.extend(indices)
    for name in analysis.costs.parameters:
        shape = tuple(graph.initializers[name].dims)
        kept = 1
        for axis_index, length in enumerate(shape):
            kept *= length - len(set(places.get(name, {}).get(axis_index, ())))
        size = int(np.prod(shape))
        total += size
        covered += size - kept
    return covered / max(1, total)


def _kinds(groups: Sequence[Group]) -> Counter[str]:
    return Counter(group.kind.value for group in groups)


def _table(groups: Sequence[Group], macs: int, parameters: int) -> list[str]:
    rows = [("group", "units", "MACs/unit", "share", "params/unit", "share", "goes with")]
    rows += [
        (
            group.id,
            str(group.units),
            f"{group.macs:,}",
            f"{group.macs / max(1, macs):.2%}",
            f"{group.parameters:,}",
            f"{group.parameters / max(1, parameters):.2%}",
            group.parent or "",
        )
        for group in groups
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _frozen(analysis: Analysis) -> list[str]:
    frozen = analysis.space.frozen
    reasons = Counter(entry.reason for entry in frozen)
    lines = [f"what stays ({len(frozen)} entries, by reason):"]
    lines += [f"  {count:>5}  {reason}" for reason, count in reasons.most_common(_FROZEN_SHOWN)]
    if len(reasons) > _FROZEN_SHOWN:
        lines.append(f"  ... and {len(reasons) - _FROZEN_SHOWN} more reasons; -o writes them all")
    return lines
