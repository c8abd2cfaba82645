import numpy as np
import pytest

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    assert_trains,
    floats,
    one_node,
    run_imported,
)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("size", [[2, 3, 4, 5], [2, 3, 3, 4, 5]])
def test_grid(align: int, size: list[int]) -> None:
    axes = len(size) - 2
    inputs = [floats(2, axes, axes + 1), np.array(size)]
    assert_like_ort("AffineGrid", inputs, opset=20, align_corners=align)
    assert_like_ort("AffineGrid", inputs, opset=20, align_corners=align, constant=[1])
    assert_trains("AffineGrid", inputs, opset=20, align_corners=align)


def test_a_grid_takes_other_batches_than_its_size_says() -> None:
    theta = floats(5, 2, 3)
    one, _ = one_node("AffineGrid", [theta[:1], np.array([1, 3, 4, 5])], constant=[1], opset=20)
    many = import_model(one)
    assert many.batch_is_free
    parts = [run_imported(many, {"x0": part[None]})[0] for part in theta]
    assert_same(run_imported(many, {"x0": theta}), [np.concatenate(parts)])


@pytest.mark.parametrize(
    ("target", "axes"), [([4, 9, 5], None), ([3, 8], [2, 0]), ([6], [-1]), ([1, 1, 1], None)]
)
def test_crop_and_pad_around_the_middle(target: list[int], axes: list[int] | None) -> None:
    named = {} if axes is None else {"axes": axes}
    inputs = [floats(5, 6, 7), np.array(target)]
    assert_like_ort("CenterCropPad", inputs, opset=18, **named)
    assert_like_ort("CenterCropPad", inputs, opset=18, constant=[1], **named)


@pytest.mark.parametrize(
    ("image", "block", "settings", "places"),
    [
        ([5, 5], [1, 5], {}, 5),
        ([5, 6], [2, 3], {"strides": [2, 1]}, 8),
        ([5, 6], [2, 2], {"dilations": [2, 3]}, 9),
        ([5, 5], [2, 2], {"pads": [1, 0, 2, 1]}, 35),
        ([3, 4, 5], [2, 2, 2], {"pads": [0, 1, 0, 1, 0, 1]}, 60),
    ],
)
def test_image_of_columns(
    image: list[int], block: list[int], settings: dict[str, list[int]], places: int
) -> None:
    columns = floats(2, 3 * int(np.prod(block)), places)
    inputs = [columns, np.array(image), np.array(block)]
    assert_like_ort("Col2Im", inputs, opset=18, **settings)
    assert_like_ort("Col2Im", inputs, opset=18, constant=[1, 2], **settings)
    assert_trains("Col2Im", inputs, opset=18, constant=[1, 2], **settings)
