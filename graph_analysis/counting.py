"""What remains costs, for many choices that differ in a few groups only.

A choice along a :class:`~graph_analysis.growth.Growth` is so many units of each group, so it is
counted from prefixes of arrays; what remains of the graph is found once for each set of structures.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from graph_analysis.effects import Survivors, survivors
from graph_analysis.growth import Counts, Growth
from graph_analysis.pipeline import Analysis
from graph_analysis.trace_graph import Edge

Marks = npt.NDArray[np.bool_]  # by class: what is removed
Price = Callable[[Marks, Survivors], float]


class Counting:
    """The cost of every choice along one growth.

    Args:
        analysis: The model's analysis.
        growth: The order that choices are made along.
        price: What is counted.
    """

    def __init__(self, analysis: Analysis, growth: Growth, price: Price) -> None:
        self._analysis = analysis
        self._price = price
        self._structures = analysis.structure_by_id
        self._edges: dict[frozenset[str], Survivors] = {}
        self._of_start = frozenset(key for key in growth.start if key in self._structures)
        self._marks = np.zeros(len(analysis.classes.class_of) + 1, bool)
        self._classes: dict[str, npt.NDArray[np.int64]] = {}
        for key, units in growth.start.items():
            if key not in self._structures:
                self._marks[analysis.classes_by_id[key][list(units)]] = True
        for key, order in growth.units.items():
            if key not in self._structures:
                self._classes[key] = analysis.classes_by_id[key][order]

    def cost(self, counts: Counts) -> float:
        """What remains when ``counts`` of the units of each group go."""
        marks = self._marks.copy()
        for key, goes in counts.items():
            if goes and key in self._classes:
                marks[self._classes[key][:goes]] = True
        erased = self.erased(counts)
        for key in erased:
            marks[list(self._structures[key].classes)] = True
        self._analysis.classes.crossings.spread(marks)
        return self._price(marks, self._survivors(erased))

    def erased(self, counts: Counts) -> frozenset[str]:
        """Structures that are gone."""
        more = (key for key, goes in counts.items() if goes and key in self._structures)
        return self._of_start.union(more)

    def _survivors(self, erased: frozenset[str]) -> Survivors:
        if erased not in self._edges:
            edges: frozenset[Edge] = frozenset().union(
                *(self._structures[key].edges for key in erased)
            )
            self._edges[erased] = survivors(self._analysis.graph, edges)
        return self._edges[erased]


def price_of(analysis: Analysis, quantity: str, time: Price | None = None) -> Price:
    """What counts one quantity of what remains.

    Args:
        analysis: The model's analysis.
        quantity: ``macs``, ``parameters``, ``bytes`` or ``latency``.
        time: What predicts the time of a run; for ``latency``, and needed there.
    """
    if quantity == "latency":
        if time is None:
            message = "a budget of latency needs what predicts it"
            raise ValueError(message)
        return time
    if quantity == "macs":
        return analysis.remaining_macs
    in_bytes = quantity == "bytes"

    def elements(gone: Marks, remaining: Survivors) -> float:
        return analysis.remaining_elements(gone, remaining, in_bytes=in_bytes)

    return elements
