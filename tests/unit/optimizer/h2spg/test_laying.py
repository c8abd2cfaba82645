"""Whatever the shape and order of a tensor in memory, and however it is cut into pieces."""

import math

import pytest
import torch
from torch import Tensor

from optimizer.h2spg import NO_UNIT, UnitLayout, UnitSlices, summing
from optimizer.h2spg.laying import fill_zero, scale, subtract_products

SHAPES = [(6, 4, 3, 3), (1, 5, 2), (4, 6), (7,), (), (3, 1, 1, 1), (6, 2, 5)]
UNITS = 4
FORMS = ["contiguous", "transposed"]


def tensor_of(shape: tuple[int, ...], form: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if form == "contiguous" or not shape:
        return values
    order = list(reversed(range(len(shape))))
    return values.permute(order).contiguous().permute(order)


def unit_of(shape: tuple[int, ...], dim: int) -> Tensor:
    length = shape[dim] if shape else 1
    units = torch.arange(length) % (UNITS + 1)
    return torch.where(units == UNITS, NO_UNIT, units)


def layout_of(tensors: list[Tensor]) -> UnitLayout:
    slices = [
        UnitSlices(tensor, dim, unit_of(tuple(tensor.shape), dim))
        for tensor in tensors
        for dim in range(max(tensor.dim(), 1))
    ]
    return UnitLayout(slices, num_units=UNITS, pool_of_unit=torch.zeros(UNITS))


def weight_of_elements(tensor: Tensor, values: Tensor) -> Tensor:
    """The sum over all axes of the value of each element's unit, one element at a time."""
    shape = tuple(tensor.shape)
    result = torch.zeros(shape, dtype=torch.float64)
    for flat in range(math.prod(shape)):
        place = torch.unravel_index(torch.tensor(flat), shape) if shape else ()
        for dim in range(max(len(shape), 1)):
            unit = int(unit_of(shape, dim)[place[dim] if shape else 0])
            if unit != NO_UNIT:
                result[place] += values[unit]
    return result


@pytest.mark.parametrize("piece", [1, 16, 1 << 18])
@pytest.mark.parametrize("form", FORMS)
def test_sums_are_those_of_the_elements(
    form: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_PIECE", piece)
    left = [tensor_of(shape, form, seed) for seed, shape in enumerate(SHAPES)]
    right = [tensor_of(shape, "contiguous", 50 + seed) for seed, shape in enumerate(SHAPES)]
    factors = [float(number) for number in range(1, len(SHAPES) + 1)]
    layout = layout_of(left)
    norms, dots, squares = layout.movements(left, right, factors)
    for unit in range(UNITS):
        one = torch.zeros(UNITS, dtype=torch.float64)
        one[unit] = 1
        held = [weight_of_elements(tensor, one) for tensor in left]

        def total(values: list[Tensor], held: list[Tensor] = held) -> float:
            return sum(float((h * v).sum()) for h, v in zip(held, values, strict=True))

        pairs = list(zip(left, right, factors, strict=True))
        assert float(layout.sums(left)[unit]) == pytest.approx(total(left))
        assert float(layout.dots(left, right)[unit]) == pytest.approx(
            total([x * y for x, y, _ in pairs])
        )
        assert float(layout.dots(left, right, squared=True)[unit]) == pytest.approx(
            total([(x * y).square() for x, y, _ in pairs])
        )
        assert float(layout.square_norms(left)[unit]) == pytest.approx(
            total([x.square() for x in left])
        )
        assert float(norms[unit]) == pytest.approx(total([x.square() for x in left]))
        assert float(dots[unit]) == pytest.approx(total([f * x * (x - y) for x, y, f in pairs]))
        assert float(squares[unit]) == pytest.approx(
            total([(f * (x - y)).square() for x, y, f in pairs])
        )


def test_what_is_missing_counts_as_zeros() -> None:
    tensors = [tensor_of(shape, "contiguous", seed) for seed, shape in enumerate(SHAPES)]
    layout = layout_of(tensors)
    for missing in range(len(tensors)):
        some = [None if number == missing else t for number, t in enumerate(tensors)]
        zeros = [
            torch.zeros_like(t) if number == missing else t for number, t in enumerate(tensors)
        ]
        assert torch.equal(layout.dots(tensors, some), layout.dots(tensors, zeros))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_units_are_zeroed_scaled_and_pulled_wherever_they_lie(
    form: str, dtype: torch.dtype
) -> None:
    tensors = [tensor_of(shape, form, seed).to(dtype) for seed, shape in enumerate(SHAPES)]
    before = [tensor.clone() for tensor in tensors]
    layout = layout_of(tensors)
    gone = torch.tensor([False, True, False, True])
    positions = layout.positions(gone)
    count = [weight_of_elements(tensor, gone.double()) for tensor in tensors]
    rough = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(dtype).eps}
    scale(tensors, positions, 0.75)
    for tensor, old, times in zip(tensors, before, count, strict=True):
        assert torch.allclose(tensor.double(), old.double() * 0.75**times, **rough)
        assert torch.equal(tensor[times == 0], old[times == 0])
    values = torch.tensor([0.0, 0.5, 0.0, 0.25], dtype=torch.float64)
    now = [tensor.clone() for tensor in tensors]
    rates = [0.5] * len(tensors)
    subtract_products(tensors, before, positions, values, rates)
    for tensor, old, start in zip(tensors, now, before, strict=True):
        pull = weight_of_elements(tensor, values)
        assert torch.allclose(tensor.double(), old.double() - 0.5 * pull * start.double(), **rough)
    fill_zero(tensors, positions)
    for tensor, old, times in zip(tensors, before, count, strict=True):
        assert not tensor[times > 0].any()
        assert torch.equal(tensor[times == 0], old[times == 0])
