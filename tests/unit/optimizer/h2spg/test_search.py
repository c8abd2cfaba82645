import torch
from hypothesis import given
from hypothesis import strategies as st

from optimizer.h2spg.search import Partition, choose_count, partition

# The worked example of the paper (its Figure 2): removal structures of DemoSupNet, and which of
# them leave a path from input to output. Conv1 feeds three branches of a Concat; after it Conv7-BN7
# and Conv8-BN8 are the only two inputs of an Add.
CONV2, CONV3, CONV45, CONV7, CONV8 = range(5)


def keeps_a_path(gone: frozenset[int]) -> bool:
    return not {CONV2, CONV3, CONV45} <= gone and not {CONV7, CONV8} <= gone


def test_the_figure_of_the_paper() -> None:
    saliency = [0.0] * 5
    for rank, structure in enumerate([CONV8, CONV3, CONV7, CONV2, CONV45]):
        saliency[structure] = rank / 10
    found = partition(saliency, 3, keeps_a_path)
    # Conv7-BN7 is less salient than Conv2-BN2, yet with Conv8-BN8 gone it has to stay.
    assert found == Partition(redundant=(CONV8, CONV3, CONV2), important=(CONV7, CONV45))


def test_fewer_are_found_where_no_more_fit() -> None:
    assert len(partition([1, 2, 3, 4, 5], 5, keeps_a_path).redundant) == 3


def test_what_is_removed_counts_and_stays() -> None:
    found = partition([1, 2, 3, 4, 5], 2, keeps_a_path, removed=frozenset([CONV8]))
    assert found.redundant == (CONV8, CONV2)


@given(
    saliency=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    count=st.integers(0, 5),
)
def test_every_unit_is_on_one_side_and_the_network_stays_valid(
    saliency: list[float], count: int
) -> None:
    found = partition(saliency, count, keeps_a_path)
    assert sorted(found.redundant + found.important) == list(range(5))
    assert keeps_a_path(frozenset(found.redundant))
    assert len(found.redundant) == min(count, 3)


def test_choose_count_follows_the_fraction() -> None:
    choose = choose_count(2, keeps_a_path)
    saliency = torch.tensor([5.0, 4, 3, 2, 1], dtype=torch.float64)
    first = choose(saliency, torch.zeros(5, dtype=torch.bool), 0.5)
    assert first.tolist() == [False, False, False, False, True]
    second = choose(-saliency, first, 1.0)
    assert second.tolist() == [True, False, False, False, True]
