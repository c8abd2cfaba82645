"""How a choice grows along an order of candidates: the answer to each, and any part of what goes.

An answer depends on the candidates before it only, so one walk serves every prefix. All that the
walk lets go is valid together, and so is every part of it: fewer cuts leave more paths.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence

from graph_analysis.cutting import Cutting
from graph_analysis.pipeline import Analysis

Candidate = tuple[str, int]  # group id, unit
Counts = Mapping[str, int]  # group id -> how many of the units that the walk lets go do go


class Growth:
    """The answers to an order of candidates, from a choice that is there already.

    Args:
        analysis: The model's analysis.
        start: Group id -> units that are removed before the first candidate.
        order: The candidates.
        floor: Node group -> units that it keeps at least.
        known: Answers for structures, where a walk with the same beginning gave them.

    Attributes:
        order: As given.
        start: As given.
        units: Group id -> its units that may go, in the order given.
        places: Their places in the order.
    """

    def __init__(
        self,
        analysis: Analysis,
        start: Mapping[str, set[int]],
        order: Sequence[Candidate],
        *,
        floor: Mapping[str, int],
        known: Mapping[str, bool],
    ) -> None:
        self.order = order
        self.start = start
        self.units: dict[str, list[int]] = defaultdict(list)
        self.places: dict[str, list[int]] = defaultdict(list)
        self._answers: dict[str, tuple[int, bool]] = {}
        structures = analysis.structure_by_id
        self._size = {group.id: group.units for group in analysis.space.groups}
        erasing = _Erasing(analysis, [key for key in start if key in structures])
        for place, (key, unit) in enumerate(order):
            if key in structures:
                goes = known[key] if key in known else erasing.may(key)
                self._answers[key] = place, goes
                if goes:
                    erasing.add(key)
            else:
                taken = len(self.units[key]) + len(start.get(key, ()))
                goes = taken < self._size[key] - floor[key]
            if goes:
                self.units[key].append(unit)
                self.places[key].append(place)

    def answers_before(self, place: int) -> dict[str, bool]:
        """Answers for the structures that come before ``place``."""
        return {key: goes for key, (where, goes) in self._answers.items() if where < place}

    def options(self, key: str, step: int = 1) -> list[int]:
        """How many units of a group may go so that what it keeps is a multiple of ``step``.

        Ascending; none is always among them.
        """
        most = len(self.units.get(key, ()))
        kept = self._size[key] - len(self.start.get(key, ()))
        return [0, *range(kept % step or step, most + 1, step)]

    def counts(self, count: int, step: Mapping[str, int]) -> dict[str, int]:
        """How many units of each group go with the first ``count`` candidates.

        Args:
            count: How many candidates count.
            step: Node group -> number that its kept units are a multiple of: the last units that
                went are given back until they are.
        """
        found = {}
        for key, places in self.places.items():
            goes = bisect_left(places, count)
            if key in step:
                kept = self._size[key] - goes - len(self.start.get(key, ()))
                goes -= min(goes, -kept % step[key])
            if goes:
                found[key] = goes
        return found

    def choice(self, counts: Counts) -> dict[str, set[int]]:
        """The units that are removed when ``counts`` of those of each group go."""
        removed = {key: set(units) for key, units in self.start.items()}
        for key, goes in counts.items():
            if goes:
                removed.setdefault(key, set()).update(self.units[key][:goes])
        return removed

    def prefix(self, count: int, step: Mapping[str, int]) -> dict[str, set[int]]:
        """The choice after the first ``count`` candidates; ``step`` as in :meth:`counts`."""
        return self.choice(self.counts(count, step))


class _Erasing:
    """Which structures may still be erased, while more and more are."""

    def __init__(self, analysis: Analysis, erased: Sequence[str]) -> None:
        self._structures = analysis.structure_by_id
        self._cutting = Cutting(analysis.graph, analysis.protected)
        for key in erased:
            self.add(key)

    def add(self, key: str) -> None:
        """Erase a structure."""
        self._cutting.cut(self._structures[key].edges)

    def may(self, key: str) -> bool:
        """Whether the structure is alive and the network valid without it.

        No node group is emptied: its units lie all in the structure or all outside.
        """
        return self._cutting.may(self._structures[key].edges)
