import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.bridge import relaxing
from optimizer.bridge.relaxing import differ_only_in_stale_batch, relax_target


def test_examples() -> None:
    assert doctest.testmod(relaxing).failed == 0


@pytest.mark.parametrize(
    ("first", "second", "target", "expected"),
    [
        ((1, 768, 1, 1), (3, 768, 1, 1), (1, 768), (-1, 768)),
        ((1, 232, 4, 4), (3, 232, 4, 4), (1, 2, 116, 4, 4), (-1, 2, 116, 4, 4)),
        ((32, 64), (96, 64), (1, 32, 64), (-1, 32, 64)),
        ((1, 32, 64), (3, 32, 64), (32, 64), (-1, 64)),
        ((30, 1, 20), (30, 3, 20), (30, 20), (30, -1)),
        ((30, 1, 20), (30, 3, 20), (30, 1, 4, 5), (30, -1, 4, 5)),
        ((2, 3, 4), (6, 3, 4), (6, -1), (-1, 4)),
        ((49, 49), (49, 49), (1, 2401), (1, 2401)),
        ((1, 8), (3, 8), (3, 5), (3, 5)),
        ((0, 8), (0, 8), (8, 0), (8, 0)),
        ((1, 2, 3), (3, 4, 3), (6,), (6,)),
        ((1, 2), (3, 2, 1), (2,), (2,)),
    ],
)
def test_targets(
    first: tuple[int, ...],
    second: tuple[int, ...],
    target: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    assert relax_target(first, second, target) == expected


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), cut=st.integers(0, 4))
def test_merging_axes_behind_the_batch_keeps_the_batch_in_front(sizes: list[int], cut: int) -> None:
    merged = (1, *sizes[:cut], -1)
    found = relax_target((1, *sizes), (3, *sizes), merged)
    assert found[0] == -1
    assert found.count(-1) == 1


def test_stale_batches() -> None:
    assert differ_only_in_stale_batch([(1, 1, 8), (3, 4, 8)], axis=1)
    assert not differ_only_in_stale_batch([(2, 1, 8), (3, 4, 8)], axis=1)
