"""Where classes live: an index from a class to its positions, built once by sorting.

Asking for a few classes costs what they occupy, not a walk over the whole model.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from graph_analysis.crossings import Crossings
from graph_analysis.labels import Axis, Classes, Labelling

Ints = npt.NDArray[np.int64]
Place = tuple[str, int, int]  # initializer or mask, axis, layer: 1 for columns of crossings, else 0
Positions = tuple[int, ...]
NO_INTS: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Every position that may go, sorted by the class that takes it along, place, position.

    Attributes:
        names: The places, in the order in which they were given.
        unit: Class of each entry; a position of a crossing is one of its row and its column.
        place: Index into ``names`` of each entry.
        position: Index along that axis of each entry.
    """

    names: tuple[Place, ...]
    unit: Ints
    place: Ints
    position: Ints

    @cached_property
    def run_start(self) -> Ints:
        """First entry of each run: the positions of one class at one place."""
        if not self.unit.size:
            return NO_INTS
        new = (np.diff(self.unit) != 0) | (np.diff(self.place) != 0)
        return np.concatenate(([0], np.flatnonzero(new) + 1))

    @cached_property
    def run_length(self) -> Ints:
        """How many positions each run has."""
        return np.diff(np.append(self.run_start, self.unit.size))

    def positions(self, runs: Ints) -> tuple[Positions, ...]:
        """Positions of some runs, all of one length."""
        spread = self.run_start[runs][:, None] + np.arange(self.run_length[runs[0]])
        return tuple(map(tuple, self.position[spread].tolist()))

    def names_of(self, classes: Ints) -> list[Place]:
        """Places of some classes together, in their order."""
        found = np.unique(self.place[ranges(self.unit, classes)])
        return [self.names[place] for place in found.tolist()]

    def of(self, classes: Ints) -> Iterator[tuple[Place, Positions]]:
        """Places and ascending positions of some classes together, in the order of the places."""
        entries = ranges(self.unit, classes)
        place, position = self.place[entries], self.position[entries]
        order = np.lexsort((position, place))
        place, position = place[order], position[order]
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        for start, stop in pairwise([*starts.tolist(), place.size]):
            yield self.names[int(place[start])], tuple(position[start:stop].tolist())

    def of_each(self, classes: Sequence[int]) -> dict[Place, tuple[Positions, ...]]:
        """Places of some classes, in the order of the places, and positions of each one there."""
        number = {unit: n for n, unit in enumerate(classes)}
        found: dict[int, list[Positions]] = defaultdict(lambda: [()] * len(classes))
        for run in ranges(self.unit[self.run_start], np.asarray(classes, np.int64)).tolist():
            start = int(self.run_start[run])
            stop = start + int(self.run_length[run])
            where = tuple(self.position[start:stop].tolist())
            found[int(self.place[start])][number[int(self.unit[start])]] = where
        return {self.names[place]: tuple(found[place]) for place in sorted(found)}


def places_of(axes: Iterable[tuple[str, int, Axis]], classes: Classes) -> Places:
    """The places of all classes along some axes, given as name, axis and labels."""
    names: list[Place] = []
    units, places, positions = [NO_INTS], [NO_INTS], [NO_INTS]
    owners = _Owners(classes.crossings)
    for name, axis, labels in axes:
        found = classes.of(labels)
        if found is None:
            continue
        for layer, owner in enumerate(owners.of(found)):
            where = np.flatnonzero(owner >= 0)
            units.append(owner[where])
            places.append(np.full(where.size, len(names), np.int64))
            positions.append(where)
            names.append((name, axis, layer))
    unit, place, position = (np.concatenate(part) for part in (units, places, positions))
    order = np.lexsort((position, place, unit))
    return Places(
        names=tuple(names), unit=unit[order], place=place[order], position=position[order]
    )


def weight_places(labelling: Labelling, classes: Classes) -> Places:
    """Places in initializers: what is cut."""
    axes = (
        (name, axis, labels)
        for name in labelling.graph.initializers
        for axis, labels in enumerate(labelling.axes.get(name, []))
    )
    return places_of(axes, classes)


def mask_places(labelling: Labelling, classes: Classes) -> Places:
    """Places in masks: where operators take statistics over what may go."""
    axes = ((mask.name, mask.axis, labels) for mask, labels in labelling.masks)
    return places_of(axes, classes)


class _Owners:
    """The units that take a position along: its class, or row and column of a crossing."""

    def __init__(self, crossings: Crossings) -> None:
        order = np.argsort(crossings.crossing)
        self._crossing = crossings.crossing[order]
        self._rows, self._columns = crossings.rows[order], crossings.columns[order]

    def of(self, found: Ints) -> tuple[Ints, ...]:
        """Owners of every position, by layer; -1 for none."""
        if not self._crossing.size:
            return (found,)
        number = np.minimum(np.searchsorted(self._crossing, found), self._crossing.size - 1)
        crossed = self._crossing[number] == found
        if not crossed.any():
            return (found,)
        return (
            np.where(crossed, self._rows[number], found),
            np.where(crossed, self._columns[number], -1),
        )


def ranges(ascending: Ints, wanted: Ints) -> Ints:
    """Indices of all entries of ``ascending`` that are equal to one of ``wanted``."""
    wanted = np.unique(wanted)
    first = np.searchsorted(ascending, wanted, side="left")
    counts = np.searchsorted(ascending, wanted, side="right") - first
    offsets = np.repeat(first - (np.cumsum(counts) - counts), counts)
    return offsets + np.arange(offsets.size)
