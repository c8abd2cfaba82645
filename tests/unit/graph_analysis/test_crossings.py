"""Crossings: positions that go with their row or with their column."""

import numpy as np

from graph_analysis.crossings import Crossings, settle_crossings


def grid(start: int, rows: list[int], columns: list[int]) -> tuple[np.ndarray, ...]:
    left, right = np.meshgrid(rows, columns, indexing="ij")
    crossing = np.arange(start, start + left.size)
    return crossing, left.ravel(), right.ravel()


def parents(found: Crossings) -> dict[int, tuple[int, int]]:
    pairs = zip(found.rows.tolist(), found.columns.tolist(), strict=True)
    return dict(zip(found.crossing.tolist(), pairs, strict=True))


def test_a_crossing_has_a_row_and_a_column() -> None:
    root, found = settle_crossings(9, [], [grid(5, [1, 2], [3, 4])])
    assert root.tolist() == list(range(9))
    assert parents(found) == {5: (1, 3), 6: (1, 4), 7: (2, 3), 8: (2, 4)}


def test_the_diagonal_is_of_the_class_it_crosses() -> None:
    root, found = settle_crossings(7, [], [grid(3, [1, 2], [1, 2])])
    assert (root[3], root[6]) == (1, 2)
    assert parents(found) == {4: (1, 2), 5: (2, 1)}


def test_next_to_a_fixed_row_the_column_decides() -> None:
    root, found = settle_crossings(4, [], [grid(2, [0], [1])])
    assert root[2] == root[1]
    assert not parents(found)


def test_tied_crossings_tie_rows_with_rows_and_columns_with_columns() -> None:
    ties = [(np.array([5]), np.array([6]))]
    root, _ = settle_crossings(7, ties, [grid(5, [1], [2]), grid(6, [3], [4])])
    assert root[1] == root[3] != root[2] == root[4]


def test_crossings_of_the_same_two_tie_nothing_else() -> None:
    ties = [(np.array([4]), np.array([5]))]
    root, _ = settle_crossings(7, ties, [grid(3, [1, 2], [1, 2])])
    assert root[1] != root[2]


def test_a_crossing_tied_to_its_row_is_one_class_with_both() -> None:
    ties = [(np.array([3]), np.array([1]))]
    root, found = settle_crossings(4, ties, [grid(3, [1], [2])])
    assert len({root[1], root[2], root[3]}) == 1
    assert not parents(found)


def test_marks_spread_from_rows_and_columns() -> None:
    _, found = settle_crossings(9, [], [grid(5, [1, 2], [3, 4])])
    gone = np.zeros(9, bool)
    gone[[1, 4]] = True
    found.spread(gone)
    assert np.flatnonzero(gone).tolist() == [1, 4, 5, 6, 8]


def test_what_keeps_a_crossing_keeps_row_and_column() -> None:
    _, found = settle_crossings(9, [], [grid(5, [1, 2], [3, 4])])
    reason_of = np.full(9, -1)
    reason_of[5] = 7
    found.pass_on(reason_of)
    assert reason_of[[1, 3]].tolist() == [7, 7]
    assert reason_of[[2, 4]].tolist() == [-1, -1]
