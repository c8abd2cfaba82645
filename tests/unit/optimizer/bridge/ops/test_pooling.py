from typing import Any

import pytest

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import assert_like_ort, floats, one_node

WINDOWS: list[dict[str, Any]] = [
    {"kernel_shape": [3, 3]},
    {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "pads": [0, 0, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 2], "auto_pad": "VALID"},
]


@pytest.mark.parametrize("attributes", WINDOWS)
def test_maximum(attributes: dict[str, Any]) -> None:
    assert_like_ort("MaxPool", [floats(2, 3, 8, 7)], **attributes)


@pytest.mark.parametrize(
    "attributes", [*WINDOWS[:4], {"kernel_shape": [2, 2], "dilations": [2, 2]}]
)
@pytest.mark.parametrize("order", [0, 1])
def test_where_the_maximum_was(attributes: dict[str, Any], order: int) -> None:
    named = attributes | {"storage_order": order}
    assert_like_ort("MaxPool", [floats(2, 3, 8, 7)], outputs=2, **named)


def test_dilated_maximum() -> None:
    assert_like_ort("MaxPool", [floats(2, 3, 8, 7)], kernel_shape=[3, 2], dilations=[2, 3])


@pytest.mark.parametrize("attributes", WINDOWS)
@pytest.mark.parametrize("include", [0, 1])
def test_average(attributes: dict[str, Any], include: int) -> None:
    x = floats(2, 3, 8, 7)
    assert_like_ort("AveragePool", [x], opset=19, count_include_pad=include, **attributes)


def test_dilated_average() -> None:
    assert_like_ort(
        "AveragePool", [floats(1, 2, 8, 8)], opset=19, kernel_shape=[2, 2], dilations=[2, 3]
    )


@pytest.mark.parametrize("spatial", [(9,), (5, 6, 7)])
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_other_ranks(op_type: str, spatial: tuple[int, ...]) -> None:
    kernel = [2] * len(spatial)
    assert_like_ort(op_type, [floats(2, 3, *spatial)], kernel_shape=kernel, strides=kernel)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_norm_over_windows(power: int) -> None:
    assert_like_ort(
        "LpPool", [floats(2, 3, 6, 6)], kernel_shape=[2, 3], strides=[2, 1], p=power, opset=11
    )


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("spatial", [(5,), (4, 5), (3, 4, 5)])
def test_whole_images(op_type: str, spatial: tuple[int, ...]) -> None:
    assert_like_ort(op_type, [floats(2, 3, *spatial)])


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [({}, "lacks kernel_shape"), ({"kernel_shape": [1] * 4}, "over 4 spatial axes")],
)
def test_windows_out_of_reach_are_refused(attributes: dict[str, Any], reason: str) -> None:
    model, _ = one_node("MaxPool", [floats(1, 1, 2, 2, 2, 2)], **attributes)
    with pytest.raises(UnsupportedOperatorsError, match=reason):
        import_model(model)
