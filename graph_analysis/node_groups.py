"""Classes of labels -> node groups: units that live at the same places, their slices and costs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

from graph_analysis.labels import Classes, Labelling
from graph_analysis.places import Ints, Places
from graph_analysis.pricing import Prices
from graph_analysis.search_space import Frozen, Group, GroupKind, WeightSlices
from graph_analysis.trace_graph import FLOATS, TraceGraph


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """A group and the class (label) of each of its units."""

    group: Group
    classes: tuple[int, ...]


def node_groups(
    graph: TraceGraph,
    labelling: Labelling,
    classes: Classes,
    *,
    places: Places,
    masked: Places,
    prices: Prices,
    protect: Collection[str],
    kinds: Collection[GroupKind],
) -> tuple[list[NodeGroup], list[Frozen]]:
    """All node groups of a labelled graph, and why every other weight stays.

    1. A unit is a class; where it occurs (initializer, axis, how often) is its signature.
    2. Units of one signature and kind form a group, in the order of their labels.
    3. A group of one unit, or touched by a ``protect`` pattern, or of another kind, stays.
    """
    groups: list[NodeGroup] = []
    taken: dict[str, int] = {}
    denied: dict[str, str] = {}
    gates = {int(classes.class_of[gate]) for gate in labelling.gates.values()}
    for kind, units, runs in _by_signature(places, classes, gates):
        names = {places.names[place][0] for place in places.place[places.run_start[runs[0]]]}
        reason = _denied(graph, names, len(units), kind, protect, kinds)
        if reason:
            denied.update(dict.fromkeys(names, reason))
            continue
        entry = _group(units, kind, places, runs, labelling, taken, graph)
        unit = np.array(units[:1], np.int64)
        group = replace(
            with_masks(entry.group, units, masked),
            macs=prices.macs_lost(unit),
            parameters=prices.parameters_lost(unit),
        )
        groups.append(replace(entry, group=group))
    return groups, _frozen(graph, labelling, classes, groups, denied)


def _by_signature(
    places: Places, classes: Classes, gates: Collection[int]
) -> list[tuple[GroupKind, list[int], Ints]]:
    """Kind, units, and per unit its runs in ``places``, in the order of the first units.

    What goes with a gate goes with a whole branch; it is no unit beside others.
    """
    start, length = places.run_start, places.run_length
    place, unit = places.place[start], places.unit[start]
    bounds = [*np.flatnonzero(np.diff(unit, prepend=-1)).tolist(), unit.size]
    found: dict[tuple[bool, bytes, bytes], list[int]] = defaultdict(list)
    for first, stop in pairwise(bounds):
        if unit[first] in gates:
            continue
        is_head = bool(classes.is_head[unit[first]])
        key = (is_head, place[first:stop].tobytes(), length[first:stop].tobytes())
        found[key].append(first)
    return [
        (
            GroupKind.HEAD if is_head else GroupKind.CHANNEL,
            unit[firsts].tolist(),
            np.asarray(firsts)[:, None] + np.arange(len(signature) // place.itemsize),
        )
        for (is_head, signature, _), firsts in found.items()
    ]


def with_masks(group: Group, classes: Sequence[int], masked: Places) -> Group:
    """The group with the masks that its units need; ``classes`` are those of its units in order.

    A structure has one unit, which takes all of the classes along.
    """
    if group.units == len(classes):
        found = masked.of_each(classes)
    else:
        found = {place: (where,) for place, where in masked.of(np.asarray(classes, np.int64))}
    masks = tuple(
        WeightSlices(initializer=name, axis=axis, unit_indices=found[name, axis, layer])
        for name, axis, layer in sorted(found)
    )
    return replace(group, masks=masks, masked=bool(masks))


def _denied(
    graph: TraceGraph,
    names: set[str],
    units: int,
    kind: GroupKind,
    protect: Collection[str],
    kinds: Collection[GroupKind],
) -> str | None:
    if kind not in kinds:
        return f"kind {kind.value!r} was not asked for"
    if units < 2:
        return "a group of one unit must stay"
    users = {graph.vertices[i].name for name in names for i, _ in graph.consumers.get(name, ())}
    for pattern in protect:
        if any(fnmatchcase(name, pattern) for name in names | users):
            return f"protected by {pattern!r}"
    return None


def _group(
    units: list[int],
    kind: GroupKind,
    places: Places,
    runs: Ints,
    labelling: Labelling,
    taken: dict[str, int],
    graph: TraceGraph,
) -> NodeGroup:
    where = places.place[places.run_start[runs[0]]].tolist()
    slices_of = {
        place: WeightSlices(
            initializer=places.names[place][0],
            axis=places.names[place][1],
            unit_indices=places.positions(runs[:, column]),
        )
        for column, place in enumerate(where)
    }
    cut = tuple(slices_of[place] for place in sorted(where, key=lambda place: places.names[place]))
    zero = tuple(
        slices
        for slices in cut
        if slices.initializer not in labelling.unzeroable
        and _is_weight(graph, labelling, slices.initializer)
    )
    produced = [place for place in where if places.names[place][:2] in labelling.born] or where
    first = places.names[min(produced)][0]
    group = Group(
        id=_new_id(f"{kind.value}:{first}", taken), kind=kind, units=len(units), zero=zero, cut=cut
    )
    return NodeGroup(group=group, classes=tuple(units))


def _new_id(label: str, taken: dict[str, int]) -> str:
    """``label``, or with the first free number; ``taken``: highest number of each."""
    number = taken.get(label, 0) + 1
    while (free := label if number == 1 else f"{label}#{number}") in taken:
        number += 1
    taken[label] = number
    taken.setdefault(free, 1)
    return free


def _is_weight(graph: TraceGraph, labelling: Labelling, name: str) -> bool:
    return graph.initializers[name].data_type in FLOATS or name in labelling.integers


def _frozen(
    graph: TraceGraph,
    labelling: Labelling,
    classes: Classes,
    groups: list[NodeGroup],
    denied: Mapping[str, str],
) -> list[Frozen]:
    covered = {slices.initializer for entry in groups for slices in entry.group.cut}
    frozen = []
    for name in graph.initializers:
        if name in covered or not _is_weight(graph, labelling, name):
            continue
        axes = labelling.axes.get(name)
        if name in denied:
            reason = denied[name]
        elif name in graph.zeros and axes is None:
            reason = "an initial state of zeros, which is the same as none"
        elif axes is None:
            reason = "no operator uses it as a weight"
        elif not any(axis is not None for axis in axes):
            reason = "it holds a single value"
        else:
            reason = classes.reason(next(axis for axis in axes if axis is not None))
        frozen.append(Frozen(initializer=name, reason=reason))
    frozen += [Frozen(tensor=name, reason="graph inputs keep their shape") for name in graph.inputs]
    return frozen
