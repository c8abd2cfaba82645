from typing import Any

import numpy as np
import pytest

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_like_reference,
    assert_trains,
    floats,
    one_node,
)

CASES: list[tuple[dict[str, Any], int, tuple[int, int]]] = [
    ({}, 1, (5, 4)),
    ({"pads": [1, 0, 1, 2], "strides": [2, 1]}, 1, (4, 6)),
    ({"dilations": [2, 1], "offset_group": 2}, 1, (3, 4)),
    ({"group": 2, "offset_group": 4}, 2, (5, 4)),
]


def operands(settings: dict[str, Any], group: int, places: tuple[int, int]) -> list[np.ndarray]:
    shared = settings.get("offset_group", 1)
    x, weight = floats(2, 4, 7, 6), floats(6, 4 // group, 3, 3, seed=2)
    offset = floats(2, shared * 18, *places, seed=3)
    mask = np.abs(floats(2, shared * 9, *places, seed=5))
    return [x, weight, offset, floats(6, seed=4), mask]


@pytest.mark.parametrize(("settings", "group", "places"), CASES)
def test_deformable_convolution(
    settings: dict[str, Any], group: int, places: tuple[int, int]
) -> None:
    inputs = operands(settings, group, places)
    assert_like_reference("DeformConv", inputs, opset=19, **settings)
    assert_like_reference("DeformConv", [*inputs[:3], None, inputs[4]], opset=19, **settings)
    assert_like_reference("DeformConv", inputs[:3], opset=22, **settings)
    assert_trains("DeformConv", inputs, opset=19, **settings)


def test_an_image_of_one_row() -> None:
    x, weight, offset = floats(1, 2, 1, 6), floats(3, 2, 1, 2), floats(1, 4, 1, 5) / 4
    assert_like_ort("DeformConv", [x, weight, offset], opset=19)


def test_three_axes_are_refused() -> None:
    inputs = [floats(1, 1, 3, 3, 3), floats(1, 1, 1, 1, 1), floats(1, 3, 3, 3, 3)]
    with pytest.raises(UnsupportedOperatorsError, match="3 spatial axes"):
        import_model(one_node("DeformConv", inputs, opset=19)[0])
