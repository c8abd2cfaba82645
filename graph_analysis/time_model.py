"""What a run takes, predicted from what the operators that remain have to do.

Not a table of guesses about a machine: the weights are fitted to measured cuts of the very model,
by least squares with weights of 0 or more. The features are shares of the original, so that a
weight is the share of the time that its kind of work takes, and the original itself takes 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from graph_analysis.counting import Marks
from graph_analysis.effects import Survivors
from graph_analysis.multiplications import product_of
from graph_analysis.pipeline import Analysis
from graph_analysis.pricing import ProductIndex
from graph_analysis.solution import Solution

Features = npt.NDArray[np.float64]
_KINDS = ("fixed", "operators", "macs", "macs of grouped convolutions", "written", "weights")
_EXPECTED = np.array([0.05, 0.1, 0.6, 0.05, 0.15, 0.05])  # before anything is measured
_PRIOR = 0.03  # how much that weighs beside one measured cut
_ORIGINAL = 100.0  # how much it weighs that the original takes 1


class Workload:
    """The work that remains after any removal, by kind, as shares of the original's."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        graph, labelling, classes = analysis.graph, analysis.labelling, analysis.classes
        written = {}
        for vertex in graph.vertices:
            name = next(filter(None, vertex.outputs), "")
            shape = graph.shape(name)
            if shape and name not in graph.weights:
                axes = labelling.axes.get(name, [None] * len(shape))
                written[vertex.index] = (product_of(1, shape, axes, classes),)
        self._written = ProductIndex(written)
        self._macs = ProductIndex(analysis.costs.macs)
        self._grouped = frozenset(
            vertex.index for vertex in graph.vertices if vertex.attributes.get("group", 1) != 1
        )
        none = np.zeros(len(classes.class_of) + 1, bool)
        nothing = Survivors(removed=frozenset(), splices={}, starved=(), dropped={})
        self._whole = self._counted(none, nothing)

    def of(self, solution: Solution) -> Features:
        """Of what a solution leaves."""
        return self.remaining(self._analysis.gone(solution), self._analysis.survivors(solution))

    def remaining(self, gone: Marks, remaining: Survivors) -> Features:
        """The same, from marks of removed classes and remaining vertices."""
        return self._counted(gone, remaining) / np.maximum(self._whole, 1.0)

    @property
    def is_there(self) -> npt.NDArray[np.bool_]:
        """Which kinds of work the model has at all."""
        return self._whole > 0

    def _counted(self, gone: Marks, remaining: Survivors) -> Features:
        macs, written = self._macs.count(gone), self._written.count(gone)
        macs = {index: n for index, n in macs.items() if index not in remaining.removed}
        grouped = sum(n for index, n in macs.items() if index in self._grouped)
        elements = self._analysis.remaining_elements(gone, remaining, in_bytes=False)
        return np.array(
            [
                1.0,
                sum(index not in remaining.removed for index in written),
                float(sum(macs.values()) - grouped),
                float(grouped),
                float(sum(n for i, n in written.items() if i not in remaining.removed)),
                float(elements),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class TimeModel:
    """Shares of the original's time, linear in the work that remains.

    Attributes:
        workload: Of the model.
        weights: Share of the time that each kind of work takes.
    """

    workload: Workload
    weights: Features

    @classmethod
    def fitted(
        cls, workload: Workload, works: Sequence[Features], shares: Sequence[float]
    ) -> "TimeModel":
        """Fit the weights to measured cuts.

        Args:
            workload: Of the model.
            works: What remained in each cut.
            shares: The share of the original's time that each took.
        """
        present = workload.is_there
        expected = np.where(present, _EXPECTED, 0.0)
        expected /= expected.sum()
        rows = np.concatenate(
            [np.eye(len(_KINDS)) * _PRIOR, [present * _ORIGINAL], *([w] for w in works)]
        )
        wanted = np.concatenate([expected * _PRIOR, [_ORIGINAL], shares])
        weights = _least_squares(rows, wanted)
        return cls(workload=workload, weights=np.where(present, weights, 0.0))

    def predict(self, gone: Marks, remaining: Survivors) -> float:
        """The share of the original's time that what remains takes; 1 for all of it."""
        return float(self.weights @ self.workload.remaining(gone, remaining))

    def __str__(self) -> str:
        shares = zip(_KINDS, self.weights.tolist(), strict=True)
        return ", ".join(f"{kind} {share:.2f}" for kind, share in shares)


def _least_squares(rows: Features, wanted: Features) -> Features:
    """Weights of 0 or more that minimise ``|rows @ weights - wanted|``, of all supports."""
    count = rows.shape[1]
    best, least = np.zeros(count), float(np.linalg.norm(wanted))
    for size in range(1, count + 1):
        for support in combinations(range(count), size):
            own, *_ = np.linalg.lstsq(rows[:, support], wanted, rcond=None)
            error = float(np.linalg.norm(rows[:, support] @ own - wanted))
            if (own >= 0).all() and error < least:
                best, least = np.zeros(count), error
                best[list(support)] = own
    return best
