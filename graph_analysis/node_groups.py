"""Classes of labels -> node groups: units that live at the same places, their slices and costs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from graph_analysis.costs import CostModel
from graph_analysis.labels import Classes, Labelling
from graph_analysis.search_space import Frozen, Group, GroupKind, WeightSlices
from graph_analysis.trace_graph import FLOATS, TraceGraph

Place = tuple[str, int, int]  # initializer, axis, layer: 1 for columns of crossings, else 0
MaskedPlaces = dict[int, dict[Place, list[int]]]


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """A group and the class (label) of each of its units."""

    group: Group
    classes: tuple[int, ...]


def node_groups(
    graph: TraceGraph,
    labelling: Labelling,
    classes: Classes,
    costs: CostModel,
    *,
    protect: Collection[str],
    kinds: Collection[GroupKind],
) -> tuple[list[NodeGroup], list[Frozen]]:
    """All node groups of a labelled graph, and why every other weight stays.

    1. A unit is a class; where it occurs (initializer, axis, how often) is its signature.
    2. Units of one signature and kind form a group, in the order of their labels.
    3. A group of one unit, or touched by a ``protect`` pattern, or of another kind, stays.
    """
    places = _places(graph, labelling, classes)
    masked = masked_places(labelling, classes)
    by_signature: dict[tuple[GroupKind, object], list[int]] = defaultdict(list)
    for unit, where in places.items():
        kind = GroupKind.HEAD if classes.is_head[unit] else GroupKind.CHANNEL
        signature = tuple((place, len(indices)) for place, indices in sorted(where.items()))
        by_signature[(kind, signature)].append(unit)
    groups: list[NodeGroup] = []
    taken: set[str] = set()
    denied: dict[str, str] = {}
    for (kind, _), units in sorted(by_signature.items(), key=lambda item: min(item[1])):
        names = {name for name, *_ in places[units[0]]}
        reason = _denied(graph, names, len(units), kind, protect, kinds)
        if reason:
            denied.update(dict.fromkeys(names, reason))
            continue
        group = _group(sorted(units), kind, places, labelling, taken, graph)
        group = replace(group, group=with_masks(group.group, group.classes, masked))
        groups.append(_with_costs(group, costs, classes))
    return groups, _frozen(graph, labelling, classes, groups, denied)


def _places(
    graph: TraceGraph, labelling: Labelling, classes: Classes
) -> dict[int, dict[Place, list[int]]]:
    places: dict[int, dict[Place, list[int]]] = defaultdict(lambda: defaultdict(list))
    owners = _owners(classes)
    for name in graph.initializers:
        for axis, labels in enumerate(labelling.axes.get(name, [])):
            found = classes.of(labels)
            if found is None:
                continue
            for position, unit in enumerate(found.tolist()):
                for layer, owner in enumerate(owners.get(unit, (unit,))):
                    if owner >= 0:
                        places[owner][name, axis, layer].append(position)
    return places


def masked_places(labelling: Labelling, classes: Classes) -> MaskedPlaces:
    """Class -> mask and axis -> positions: where operators take statistics over the class."""
    found: MaskedPlaces = defaultdict(lambda: defaultdict(list))
    owners = _owners(classes)
    for mask, labels in labelling.masks:
        along = classes.of(labels)
        for position, unit in enumerate([] if along is None else along.tolist()):
            for layer, owner in enumerate(owners.get(unit, (unit,))):
                if owner >= 0:
                    found[owner][mask.name, mask.axis, layer].append(position)
    return found


def _owners(classes: Classes) -> dict[int, tuple[int, int]]:
    """Class of a crossing -> the units that take it along, by row and by column; -1 for none."""
    parts = classes.crossings
    pairs = zip(parts.rows.tolist(), parts.columns.tolist(), strict=True)
    return dict(zip(parts.crossing.tolist(), pairs, strict=True))


def with_masks(group: Group, classes: Sequence[int], masked: MaskedPlaces) -> Group:
    """The group with the masks that its units need; ``classes`` are those of its units in order.

    A structure has one unit, which takes all of the classes along.
    """
    units = [(unit,) for unit in classes] if group.units == len(classes) else [tuple(classes)]
    places = sorted({place for unit in classes if unit in masked for place in masked[unit]})
    masks = tuple(
        WeightSlices(
            initializer=name,
            axis=axis,
            unit_indices=tuple(
                tuple(
                    sorted(
                        index
                        for one in unit
                        if one in masked
                        for index in masked[one].get((name, axis, layer), ())
                    )
                )
                for unit in units
            ),
        )
        for name, axis, layer in places
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
    places: Mapping[int, Mapping[Place, list[int]]],
    labelling: Labelling,
    taken: set[str],
    graph: TraceGraph,
) -> NodeGroup:
    cut = tuple(
        WeightSlices(
            initializer=name,
            axis=axis,
            unit_indices=tuple(tuple(places[unit][name, axis, layer]) for unit in units),
        )
        for name, axis, layer in sorted(places[units[0]])
    )
    zero = tuple(
        slices
        for slices in cut
        if slices.initializer not in labelling.unzeroable
        and _is_weight(graph, labelling, slices.initializer)
    )
    order = {name: place for place, name in enumerate(graph.initializers)}
    produced = [s for s in cut if (s.initializer, s.axis) in labelling.born] or list(cut)
    first = min(produced, key=lambda slices: order[slices.initializer]).initializer
    label = f"{kind.value}:{first}"
    number = 1
    while label in taken:
        number += 1
        label = f"{kind.value}:{first}#{number}"
    taken.add(label)
    group = Group(id=label, kind=kind, units=len(units), zero=zero, cut=cut)
    return NodeGroup(group=group, classes=tuple(units))


def _is_weight(graph: TraceGraph, labelling: Labelling, name: str) -> bool:
    return graph.initializers[name].data_type in FLOATS or name in labelling.integers


def _with_costs(entry: NodeGroup, costs: CostModel, classes: Classes) -> NodeGroup:
    gone = np.zeros(len(classes.class_of), bool)
    none = gone.copy()
    gone[entry.classes[0]] = True
    classes.crossings.spread(gone)
    macs = sum(
        product.count(none) - product.count(gone)
        for products in costs.macs.values()
        for product in products
        if product.is_touched(gone)
    )
    names = {slices.initializer for slices in entry.group.cut} & costs.parameters
    parameters = sum(costs.elements[n].count(none) - costs.elements[n].count(gone) for n in names)
    return replace(entry, group=replace(entry.group, macs=macs, parameters=parameters))


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
