"""How a choice grows along an order of candidates: the answer to each, and any prefix of it.

An answer depends on the candidates before it only, so one walk serves every prefix.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence

from graph_analysis.effects import is_dead, survivors
from graph_analysis.pipeline import Analysis
from graph_analysis.trace_graph import Edge

Candidate = tuple[str, int]  # group id, unit


class Growth:
    """The answers to an order of candidates, from a choice that is there already.

    Args:
        analysis: The model's analysis.
        start: Group id -> units that are removed before the first candidate.
        order: The candidates.
        floor: Node group -> units that it keeps at least.
        known: Answers for structures, where a walk with the same beginning gave them.
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
        self._start = start
        self._answers: dict[str, tuple[int, bool]] = {}
        self._units: dict[str, list[int]] = defaultdict(list)  # that go, in the order given
        self._places: dict[str, list[int]] = defaultdict(list)  # theirs in the order
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
                taken = len(self._units[key]) + len(start.get(key, ()))
                goes = taken < self._size[key] - floor[key]
            if goes:
                self._units[key].append(unit)
                self._places[key].append(place)

    def answers_before(self, place: int) -> dict[str, bool]:
        """Answers for the structures that come before ``place``."""
        return {key: goes for key, (where, goes) in self._answers.items() if where < place}

    def prefix(self, count: int, step: Mapping[str, int]) -> dict[str, set[int]]:
        """The choice after the first ``count`` candidates.

        Args:
            count: How many candidates count.
            step: Node group -> number that its kept units are a multiple of: the last units that
                went are given back until they are.
        """
        removed = {key: set(units) for key, units in self._start.items()}
        for key, places in self._places.items():
            goes = bisect_left(places, count)
            if key in step:
                kept = self._size[key] - goes - len(self._start.get(key, ()))
                goes -= min(goes, -kept % step[key])
            if goes:
                removed.setdefault(key, set()).update(self._units[key][:goes])
        return removed


class _Erasing:
    """Which structures may still be erased, while more and more are."""

    def __init__(self, analysis: Analysis, erased: Sequence[str]) -> None:
        self._analysis = analysis
        self._graph = analysis.graph
        self._structures = analysis.structure_by_id
        self._edges: frozenset[Edge] = frozenset().union(
            *(self._structures[key].edges for key in erased)
        )
        self._remaining = survivors(self._graph, self._edges)

    def add(self, key: str) -> None:
        """Erase a structure."""
        self._edges |= self._structures[key].edges
        self._remaining = survivors(self._graph, self._edges)

    def may(self, key: str) -> bool:
        """Whether the structure is alive and the network valid without it.

        No node group is emptied: its units lie all in the structure or all outside.
        """
        edges = self._structures[key].edges
        if is_dead(self._graph, edges, self._remaining):
            return False
        remaining = survivors(self._graph, self._edges | edges)
        return not remaining.starved and self._analysis.is_intact(remaining)
