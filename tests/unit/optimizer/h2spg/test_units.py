import pytest
import torch

from optimizer.h2spg.units import NO_UNIT, UnitLayout, UnitSlices, fill_zero, scale


def a_layout() -> tuple[UnitLayout, torch.Tensor, torch.Tensor]:
    matrix = torch.arange(1.0, 7.0).reshape(2, 3)
    scalar = torch.tensor(10.0)
    slices = [
        UnitSlices(matrix, 0, torch.tensor([0, NO_UNIT])),
        UnitSlices(matrix, 1, torch.tensor([1, 2, 1])),
        UnitSlices(scalar, 0, torch.tensor([2])),
    ]
    return UnitLayout(slices, num_units=3, pool_of_unit=torch.zeros(3)), matrix, scalar


def test_sums_run_over_all_elements_of_a_unit() -> None:
    layout, matrix, scalar = a_layout()
    assert layout.sums([matrix, scalar]).tolist() == [1 + 2 + 3, 1 + 4 + 3 + 6, 2 + 5 + 10]
    assert layout.size.tolist() == [3, 4, 3]
    assert len(layout.tensors) == 2


def test_zeroing_and_scaling_touch_the_unit_alone() -> None:
    layout, matrix, scalar = a_layout()
    unit_2 = layout.positions(torch.tensor([False, False, True]))
    scale(layout.tensors, unit_2, 0.5)
    assert matrix.tolist() == [[1, 1, 3], [4, 2.5, 6]]
    assert scalar.item() == 5
    fill_zero([matrix, None], unit_2)
    assert matrix.tolist() == [[1, 0, 3], [4, 0, 6]]
    assert scalar.item() == 5


def test_spread_lays_values_along_the_tensors() -> None:
    layout, _, _ = a_layout()
    everywhere = layout.positions(torch.ones(3, dtype=torch.bool))
    values = everywhere.spread(torch.tensor([1.0, 2.0, 3.0]))
    assert [(axis.tensor, axis.dim, value.tolist()) for axis, value in values] == [
        (0, 0, [1.0, 0.0]),
        (0, 1, [2.0, 3.0, 2.0]),
        (1, 0, [3.0]),
    ]


def test_without_slices_everything_is_empty() -> None:
    layout = UnitLayout([], num_units=0, pool_of_unit=torch.zeros(0))
    assert layout.sums([]).shape == (0,)
    assert layout.positions(torch.zeros(0, dtype=torch.bool)).tensors == []


@pytest.mark.parametrize(
    "slices, message",
    [
        (UnitSlices(torch.zeros(2), 1, torch.tensor([0, 0])), "dim 1 does not exist"),
        (UnitSlices(torch.zeros(2), 0, torch.tensor([0])), "has 2 positions"),
        (UnitSlices(torch.zeros(2), 0, torch.tensor([0, 1])), "units run from 0 to 0"),
        (UnitSlices(torch.zeros(2), 0, torch.tensor([-2, 0])), "a slice names -2..0"),
        (UnitSlices(torch.zeros(2, dtype=torch.int64), 0, torch.tensor([0, 0])), "only floats"),
    ],
)
def test_slices_that_do_not_fit_are_refused(slices: UnitSlices, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnitLayout([slices], num_units=1, pool_of_unit=torch.zeros(1))


def test_a_pool_for_every_unit_and_one_device() -> None:
    with pytest.raises(ValueError, match="pool_of_unit"):
        UnitLayout([], num_units=2, pool_of_unit=torch.zeros(1))
    elsewhere = torch.zeros(1, device="meta")
    here = UnitSlices(torch.zeros(1), 0, torch.tensor([0]))
    with pytest.raises(ValueError, match="several devices"):
        UnitLayout(
            [here, UnitSlices(elsewhere, 0, torch.tensor([0]))],
            num_units=1,
            pool_of_unit=torch.zeros(1),
        )


def test_units_follow_tensors_that_lost_positions() -> None:
    """Their size is still that of all members: what is left is as salient as it was."""
    weight = torch.ones(3, 2)
    layout = UnitLayout(
        [
            UnitSlices(weight, 0, torch.tensor([0, 1, 2])),
            UnitSlices(weight, 1, torch.tensor([3, 4])),
        ],
        num_units=5,
        pool_of_unit=torch.zeros(5, dtype=torch.int64),
    )
    size = layout.size.clone()
    weight.data = weight.data[[0, 2]][:, [1]]
    layout.replace_slices(
        [UnitSlices(weight, 0, torch.tensor([0, 2])), UnitSlices(weight, 1, torch.tensor([4]))]
    )
    assert torch.equal(layout.size, size)
    assert layout.sums([weight]).tolist() == [1, 0, 1, 0, 2]
    places = layout.positions(torch.tensor([False, True, True, True, False]))
    assert places.tensors == [0]
    fill_zero([weight], places)
    assert weight.tolist() == [[1.0], [0.0]]
