"""Partition of labels: symmetric, transitive, independent of the order of ties."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graph_analysis.coupling import components


def test_untied_labels_stay_alone() -> None:
    assert components(4, []).tolist() == [0, 1, 2, 3]


def test_chains_end_in_the_smallest_label() -> None:
    ties = [(np.array([9, 8, 7, 6]), np.array([8, 7, 6, 5])), (np.array([5]), np.array([1]))]
    assert components(10, ties).tolist() == [0, 1, 2, 3, 4, 1, 1, 1, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40), st.randoms())
def test_it_is_the_smallest_equivalence_that_holds_the_ties(
    pairs: list[tuple[int, int]], random: object
) -> None:
    sets = {label: {label} for label in range(20)}
    for left, right in pairs:
        union = sets[left] | sets[right]
        sets.update(dict.fromkeys(union, union))
    expected = [min(sets[label]) for label in range(20)]
    shuffled = sorted(pairs, key=lambda _: random.random())  # type: ignore[attr-defined]
    ties = [(np.array([a]), np.array([b])) for a, b in shuffled]
    assert components(20, ties).tolist() == expected
