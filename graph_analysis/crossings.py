"""Positions that belong to two units: they go when either goes (an entry of a Gram matrix).

A crossing is a class of labels with a row class and a column class. It is no unit of its own:
removing a row or a column takes it along. Sees integers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graph_analysis.coupling import FIXED, Labels, components


@dataclass(frozen=True, kw_only=True)
class Crossings:
    """Classes of crossings, each once, with the classes of their rows and columns.

    A row or column that stays is -1: the crossing goes with the other one alone.
    """

    crossing: Labels
    rows: Labels
    columns: Labels

    def spread(self, gone: npt.NDArray[np.bool_]) -> None:
        """Mark the crossings whose row or column is marked; the marks are edited in place."""
        for parents in (self.rows, self.columns):
            present = parents >= 0
            np.logical_or.at(gone, self.crossing[present], gone[parents[present]])

    def closure(self, classes: Labels) -> Labels:
        """Some classes and the crossings that go with them."""
        if not self.crossing.size:
            return classes
        goes = np.isin(self.rows, classes) | np.isin(self.columns, classes)
        return np.union1d(classes, self.crossing[goes])

    def pass_on(self, reason_of: npt.NDArray[np.int64]) -> None:
        """What keeps a crossing keeps row and column; a crossing of two that stay, stays."""
        for parents in (self.rows, self.columns):
            kept = reason_of[self.crossing] >= 0
            unset = kept & (reason_of[parents] < 0)
            reason_of[parents[unset]] = reason_of[self.crossing[unset]]
        both = (reason_of[self.rows] >= 0) & (reason_of[self.columns] >= 0)
        unset = both & (reason_of[self.crossing] < 0)
        reason_of[self.crossing[unset]] = reason_of[self.rows[unset]]

    def without(self, frozen: npt.NDArray[np.bool_]) -> "Crossings":
        """Only the crossings that may go, by class; rows and columns that stay become -1."""
        alive = ~frozen[self.crossing]
        rows, columns = self.rows[alive], self.columns[alive]
        return Crossings(
            crossing=self.crossing[alive],
            rows=np.where(frozen[rows], -1, rows),
            columns=np.where(frozen[columns], -1, columns),
        )


def settle_crossings(
    count: int,
    ties: Sequence[tuple[Labels, Labels]],
    crossings: Sequence[tuple[Labels, Labels, Labels]],
) -> tuple[npt.NDArray[np.int64], Crossings]:
    """Classes of all labels, and the crossings among them, given as (crossing, row, column) labels.

    1. A crossing of a class with itself (the diagonal) is of that class.
    2. Crossings tied to each other go together, so row goes with row and column with column,
       unless they cross the same two.
    3. A crossing tied to its own row or column is of one class with both, and so is a crossing
       with all that it crosses, if it is itself the row or column of another.
    4. Next to a fixed row or column the crossing is of the class of the other.
    """
    empty = np.empty(0, np.int64)
    if not crossings:
        none = Crossings(crossing=empty, rows=empty, columns=empty)
        return components(count, ties), none
    crossing, rows, columns = (np.concatenate([entry[n] for entry in crossings]) for n in range(3))
    all_ties = [*ties]
    for parents, others in ((rows, columns), (columns, rows)):
        fixed = parents == FIXED
        all_ties.append((crossing[fixed], others[fixed]))
    inner = (rows != FIXED) & (columns != FIXED)
    crossing, rows, columns = crossing[inner], rows[inner], columns[inner]
    while True:
        root = components(count, all_ties)
        more = _missing_ties(root[crossing], root[rows], root[columns])
        if not more:
            break
        all_ties += more
    parts = np.stack([root[crossing], root[rows], root[columns]])
    parts = parts[:, (parts[0] != parts[1]) & (parts[0] != parts[2])]
    _, first = np.unique(parts[0], return_index=True)
    parts = parts[:, first]
    return root, Crossings(crossing=parts[0], rows=parts[1], columns=parts[2])


def _missing_ties(crossing: Labels, rows: Labels, columns: Labels) -> list[tuple[Labels, Labels]]:
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    open_ones = (crossing != low) | (crossing != high)
    nested = np.isin(rows, crossing[open_ones]) | np.isin(columns, crossing[open_ones])
    one = (low == high) | (crossing == low) | (crossing == high) | nested
    one &= open_ones
    found = [(crossing[one], rows[one]), (crossing[one], columns[one])] if one.any() else []
    _, first, place = np.unique(crossing, return_index=True, return_inverse=True)
    first = first[place]
    differ = (low != low[first]) | (high != high[first])
    if differ.any():
        found += [(rows[differ], rows[first][differ]), (columns[differ], columns[first][differ])]
    return found
