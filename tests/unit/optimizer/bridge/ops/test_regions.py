from typing import Any

import numpy as np
import pytest

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_trains,
    floats,
    one_node,
)

IMAGE = floats(2, 3, 12, 10)
CORNERS = np.array(
    [[0, 0, 9, 11], [2.2, 1.7, 6.1, 8.9], [-3, -2, 4, 5], [5, 5, 5.4, 5.2], [7, 8, 14, 15]],
    np.float32,
)
SAMPLES = np.array([0, 1, 1, 0, 1])


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("shape", [(2, 3), (5, 4)])
def test_maxima_of_regions(scale: float, shape: tuple[int, int]) -> None:
    regions = np.concatenate([SAMPLES[:, None], np.clip(CORNERS, 0, 9)], 1).astype(np.float32)
    assert_like_ort("MaxRoiPool", [IMAGE, regions], spatial_scale=scale, pooled_shape=list(shape))


@pytest.mark.parametrize("ratio", [0, 1, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
def test_points_in_regions(ratio: int, mode: str, coordinates: str) -> None:
    named: dict[str, Any] = {"mode": mode, "sampling_ratio": ratio, "spatial_scale": 0.8}
    named |= {"output_height": 3, "output_width": 2}
    inputs = [IMAGE, CORNERS, SAMPLES]
    assert_like_ort(
        "RoiAlign", inputs, opset=16, coordinate_transformation_mode=coordinates, **named
    )
    assert_like_ort("RoiAlign", inputs, opset=10, **named)


def test_regions_pass_gradients_on() -> None:
    named = {"output_height": 3, "output_width": 2, "sampling_ratio": 2}
    assert_trains("RoiAlign", [IMAGE, CORNERS[:2], SAMPLES[:2]], opset=16, **named)
    regions = np.array([[0, 1, 1, 7, 8]], np.float32)
    assert_trains("MaxRoiPool", [IMAGE, regions], constant=[1], pooled_shape=[2, 2])


def test_unknown_mode_is_refused() -> None:
    model, _ = one_node("RoiAlign", [IMAGE, CORNERS, SAMPLES], opset=16, mode="sum")
    with pytest.raises(UnsupportedOperatorsError, match="sum"):
        import_model(model)


def boxes(count: int) -> np.ndarray:
    corner = np.random.default_rng(3).uniform(0, 1, (2, count, 2)).astype(np.float32)
    size = np.random.default_rng(4).uniform(-0.3, 0.4, (2, count, 2)).astype(np.float32)
    return np.concatenate([corner, corner + size], 2)


@pytest.mark.parametrize("overlap", [None, 0.0, 0.3, 0.8])
@pytest.mark.parametrize("threshold", [None, 0.4])
@pytest.mark.parametrize("most", [3, 100])
def test_choice_of_boxes(overlap: float | None, threshold: float | None, most: int) -> None:
    scores = np.random.default_rng(5).uniform(0, 1, (2, 3, 40)).astype(np.float32)
    scores[0, 0, 7:12] = scores[0, 0, 7]  # of equal ones the first is taken first
    limits = [
        np.array([most]),
        None if overlap is None else np.array([overlap], np.float32),
        None if threshold is None else np.array([threshold], np.float32),
    ]
    inputs = [boxes(40), scores, *limits]
    assert_like_ort("NonMaxSuppression", inputs)
    present = [2 + place for place, limit in enumerate(limits) if limit is not None]
    assert_like_ort("NonMaxSuppression", inputs, constant=present)


def test_choice_of_boxes_by_centre_and_without_a_limit() -> None:
    scores = np.random.default_rng(5).uniform(0, 1, (2, 3, 40)).astype(np.float32)
    inputs = [np.abs(boxes(40)), scores, np.array([9]), np.array([0.2], np.float32)]
    assert_like_ort("NonMaxSuppression", inputs, center_point_box=1)
    assert_like_ort("NonMaxSuppression", inputs[:2])
