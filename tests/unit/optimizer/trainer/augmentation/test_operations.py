"""Each operation against pictures worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from optimizer.trainer.augmentation import colour
from optimizer.trainer.augmentation.erasing import covered, erased
from optimizer.trainer.augmentation.geometry import flipped_and_cropped, warped
from optimizer.trainer.augmentation.mixing import Mix, drawn
from optimizer.trainer.augmentation.random_operations import (
    OPERATIONS,
    operated,
    randomly_operated,
)

GRID = torch.arange(9.0).view(1, 1, 3, 3)  # 0 1 2 / 3 4 5 / 6 7 8


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows(image: Tensor) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in image[0, 0].tolist()]


def moved(flip: bool = False, down: int = 0, right: int = 0) -> list[list[float]]:
    parts = torch.tensor([flip]), torch.tensor([down]), torch.tensor([right])
    return rows(flipped_and_cropped(GRID, *parts))


def test_mirrored_and_shifted_with_reflected_edges() -> None:
    assert moved() == rows(GRID)
    assert moved(flip=True) == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert moved(down=1) == [[3, 4, 5], [6, 7, 8], [3, 4, 5]]
    assert moved(down=-1) == [[3, 4, 5], [0, 1, 2], [3, 4, 5]]
    assert moved(right=2) == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert moved(flip=True, right=1) == [[1, 0, 1], [4, 3, 4], [7, 6, 7]]


def test_a_shift_is_the_crop_of_a_picture_padded_by_reflection() -> None:
    x, flips = picture(5, 3, 8, 6), torch.tensor([0, 1, 0, 1, 1]).bool()
    down, right = torch.tensor([0, -2, 2, 1, -1]), torch.tensor([0, 2, -2, -1, 1])
    found = flipped_and_cropped(x, flips, down, right)
    for n in range(5):
        source = x[n].flip(-1) if flips[n] else x[n]
        padded = torch.nn.functional.pad(source[None], (2, 2, 2, 2), mode="reflect")[0]
        top, left = 2 + int(down[n]), 2 + int(right[n])
        assert torch.equal(found[n], padded[:, top : top + 8, left : left + 6])


def warp(image: Tensor, **given: object) -> Tensor:
    parts = {"angle_N": 0.0, "shear_N2": (0.0, 0.0), "shift_N2": (0.0, 0.0)} | given
    return warped(image, **{name: torch.tensor([value]) for name, value in parts.items()})


def test_a_quarter_turn_is_clockwise() -> None:
    assert rows(warp(GRID, angle_N=math.pi / 2)) == [[6, 3, 0], [7, 4, 1], [8, 5, 2]]
    assert rows(warp(GRID, angle_N=-math.pi / 2)) == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]


def test_a_turn_keeps_angles_in_pictures_that_are_not_square() -> None:
    """A bar across the middle stands upright after a quarter turn, as long as it was."""
    wide = torch.zeros(1, 1, 5, 9)
    wide[0, 0, 2, 3:6] = 1
    upright = torch.zeros(1, 1, 5, 9)
    upright[0, 0, 1:4, 4] = 1
    assert torch.allclose(warp(wide, angle_N=math.pi / 2), upright, atol=1e-5)


def test_shifts_and_shears_move_what_is_seen() -> None:
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 1
    assert warp(point, shift_N2=(0.2, 0.0)).flatten().argmax() == 2 * 5 + 3
    assert warp(point, shift_N2=(0.0, 0.2)).flatten().argmax() == 3 * 5 + 2
    bar = torch.zeros(1, 1, 5, 5)
    bar[0, 0, :, 2] = 1
    slanted = warp(bar, shear_N2=(1.0, 0.0))
    assert rows(slanted) == rows(torch.eye(5)[None, None])  # one column per row
    level = torch.zeros(1, 1, 5, 5)
    level[0, 0, 2, :] = 1
    assert rows(warp(level, shear_N2=(0.0, 1.0))) == rows(torch.eye(5)[None, None])


def test_samples_that_stay_are_untouched() -> None:
    x = picture(2, 3, 8, 8)
    found = warped(
        x,
        angle_N=torch.tensor([0.0, 0.3]),
        shear_N2=torch.zeros(2, 2),
        shift_N2=torch.zeros(2, 2),
    )
    assert torch.equal(found[0], x[0])
    assert not torch.allclose(found[1], x[1], atol=0.1)


FOUR = torch.tensor([0.0, 2.0, 4.0, 10.0]).view(1, 1, 2, 2)
WITHIN = colour.ValueRange(low=torch.zeros(1, 1, 1, 1), high=torch.full((1, 1, 1, 1), 10.0))


@pytest.mark.parametrize(
    "operation, strength, values",
    [
        (colour.brightened, 0.5, [0, 3, 6, 10]),  # white is the limit
        (colour.brightened, -0.5, [0, 1, 2, 5]),
        (colour.contrasted, 0.5, [0, 1, 4, 10]),  # about the mean, 4
        (colour.contrasted, -0.5, [2, 3, 4, 7]),
        (colour.saturated, 0.5, [0, 2, 4, 10]),
        (colour.posterised, 1.0, [0, 1.875, 3.75, 9.375]),  # sixteenths of ten
        (colour.solarised, 0.7, [0, 2, 6, 0]),  # inverted above 3
        (colour.solarised, 1.0, [0, 8, 6, 0]),
    ],
)
def test_colours_by_hand(operation, strength: float, values: list[float]) -> None:
    found = operation(FOUR, torch.tensor([strength]), WITHIN)
    assert found.flatten().tolist() == pytest.approx(values)


def test_saturation_is_the_distance_from_grey() -> None:
    x = torch.tensor([1.0, 4.0, 7.0]).view(1, 3, 1, 1)
    within = colour.ValueRange(low=torch.zeros(1, 3, 1, 1), high=torch.full((1, 3, 1, 1), 9.0))
    assert colour.saturated(x, torch.tensor([0.5]), within).flatten().tolist() == [0, 4, 8.5]
    assert colour.saturated(x, torch.tensor([-1.0]), within).flatten().tolist() == [4, 4, 4]


def test_sharpness_is_the_distance_from_the_blurred_picture() -> None:
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 13.0  # blurred: 1 around, 5 in the middle
    within = colour.ValueRange(low=torch.full((1, 1, 1, 1), -9.0), high=WITHIN.high + 9)
    blurred = colour.sharpened(x, torch.tensor([-1.0]), within)
    assert rows(blurred) == [[1, 1, 1], [1, 5, 1], [1, 1, 1]]
    sharp = colour.sharpened(x, torch.tensor([0.5]), within)
    assert rows(sharp) == [[-0.5, -0.5, -0.5], [-0.5, 17, -0.5], [-0.5, -0.5, -0.5]]


def test_the_range_is_that_of_the_channels_of_the_batch() -> None:
    x = picture(4, 3, 5, 5) * torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
    within = colour.ValueRange.of(x)
    assert within.low.flatten().tolist() == x.amin((0, 2, 3)).tolist()
    strength = torch.full((4,), 0.9)
    bright = colour.brightened(x, strength, within)
    assert bool((bright <= within.high).all() & (bright >= within.low).all())


@pytest.mark.parametrize("scale, shift", [(1.0, 0.0), (255.0, 0.0), (0.25, -3.0)])
def test_how_values_are_normalised_does_not_matter(scale: float, shift: float) -> None:
    x = picture(8, 3, 12, 12)
    plain, other = (
        randomly_operated(each, 0.7, torch.Generator().manual_seed(3))
        for each in (x, x * scale + shift)
    )
    close = ((plain * scale + shift) - other).abs() < 1e-3 * scale
    assert close.float().mean() > 0.98  # a value right at a limit may fall to its other side


def test_magnitude_0_changes_nothing_to_the_bit() -> None:
    x = picture(16, 3, 9, 7)
    assert torch.equal(randomly_operated(x, 0.0, torch.Generator().manual_seed(0)), x)
    assert torch.equal(erased(x, 0.0, torch.Generator().manual_seed(0)), x)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_sample_goes_through_its_own_operations(name: str) -> None:
    x = picture(2, 3, 9, 9)
    strength = torch.zeros(2, len(OPERATIONS))
    strength[1, OPERATIONS.index(name)] = 0.8
    found = operated(x, strength, torch.ones(2, len(OPERATIONS)))
    assert torch.equal(found[0], x[0])
    assert torch.equal(found[1], x[1]) == (name == "nothing")


def test_two_operations_at_most_and_all_of_them_in_time() -> None:
    x, changed = picture(400, 1, 6, 6), set()
    found = randomly_operated(x, 1.0, torch.Generator().manual_seed(1))
    share = (found != x).flatten(1).any(1).float().mean()
    assert 0.9 < share < 1.0  # one in 144 draws nothing twice; grey pictures have no saturation
    assert bool(torch.isfinite(found).all())
    changed.update(found.flatten(1).std(1).tolist())
    assert len(changed) > 300


def test_a_rectangle_becomes_the_mean() -> None:
    row, column = torch.tensor([[True, True, False]]), torch.tensor([[False, True, False]])
    found = covered(GRID, row, column, torch.tensor([True]))
    assert rows(found) == [[0, 4, 2], [3, 4, 5], [6, 7, 8]]
    assert torch.equal(covered(GRID, row, column, torch.tensor([False])), GRID)


def test_rectangles_lie_inside_and_are_of_all_sizes() -> None:
    x = picture(500, 1, 20, 30)
    found = erased(x, 1.0, torch.Generator().manual_seed(0))
    is_covered = (found != x)[:, 0]
    areas = is_covered.flatten(1).float().mean(1)
    assert float(areas.min()) > 0.01
    assert float(areas.max()) < 0.36
    assert bool(is_covered.any(0).all())  # everywhere, corners too
    for one in is_covered[:20]:
        height, width = one.any(1).sum(), one.any(0).sum()
        assert int(one.sum()) == int(height * width)
    some = erased(x, 0.3, torch.Generator().manual_seed(0))
    assert 0.2 < float((some != x).flatten(1).any(1).float().mean()) < 0.4


def test_mixing_by_hand() -> None:
    x = torch.tensor([[0.0, 10.0], [4.0, 2.0]])
    mix = Mix(share=0.75)
    assert mix.of_inputs(x).tolist() == [[1.0, 8.0], [3.0, 4.0]]
    assert mix.of_labels(torch.eye(2)).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert torch.equal(Mix(share=1.0).of_inputs(x), x)
    pictures = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    mix = Mix(share=0.75, box=(0, 1, 1, 2))
    assert mix.of_inputs(pictures)[:, 0].tolist() == [[[0, 1], [0, 0]], [[1, 0], [1, 1]]]


def test_the_share_of_a_box_is_that_of_its_pixels() -> None:
    rng = np.random.default_rng(0)
    shares, boxes = [], 0
    for _ in range(300):
        mix = drawn(mixup=0.0, cutmix=1.0, size=(6, 9), rng=rng)
        assert mix.box is not None
        ones = torch.stack([torch.zeros(1, 6, 9), torch.ones(1, 6, 9)])
        assert float(mix.of_inputs(ones)[1].mean()) == pytest.approx(mix.share)
        shares.append(mix.share)
    assert 0.4 < np.mean(shares) < 0.8
    boxes = sum(
        drawn(mixup=0.2, cutmix=1.0, size=(6, 9), rng=rng).box is not None for _ in range(300)
    )
    assert 100 < boxes < 200
    assert drawn(mixup=0.2, cutmix=0.0, size=None, rng=rng).box is None
