import numpy as np
import pytest
import torch

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import assert_like_ort, floats, one_node

IMAGE = floats(1, 2, 4, 5)
UP = np.array([1, 1, 2, 3], np.float32)
ODD = np.array([1, 1, 0.6, 1.7], np.float32)


@pytest.mark.parametrize("scales", [UP, ODD], ids=["up", "odd"])
@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_scales(scales: np.ndarray, coordinates: str, mode: str) -> None:
    named = {"mode": mode, "coordinate_transformation_mode": coordinates}
    for constant in ([2], []):
        assert_like_ort("Resize", [IMAGE, None, scales], constant=constant, **named)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_rounding_of_nearest(rounding: str, coordinates: str) -> None:
    named = {"nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
    for scales in (UP, ODD):
        assert_like_ort("Resize", [IMAGE, None, scales], constant=[2], mode="nearest", **named)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_sizes(mode: str) -> None:
    sizes = np.array([1, 2, 7, 3])
    assert_like_ort("Resize", [IMAGE, None, None, sizes], constant=[3], mode=mode)
    inputs = [IMAGE, np.zeros(0, np.float32), np.zeros(0, np.float32), sizes]
    assert_like_ort("Resize", inputs, constant=[1, 2, 3], opset=11, mode=mode)


@pytest.mark.parametrize("rank", [3, 5])
def test_other_ranks(rank: int) -> None:
    x = floats(1, 2, *(4,) * (rank - 2))
    scales = np.array([1, 1] + [2] * (rank - 2), np.float32)
    assert_like_ort("Resize", [x, None, scales], constant=[2], mode="linear")


def test_cubic_without_what_lies_outside() -> None:
    named = {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}
    assert_like_ort("Resize", [IMAGE, None, UP], constant=[2], **named)


def test_symmetric_coordinates() -> None:
    named = {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}
    assert_like_ort("Resize", [IMAGE, None, ODD], constant=[2], opset=19, **named)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio_is_kept(policy: str) -> None:
    named = {"mode": "nearest", "axes": [2, 3], "keep_aspect_ratio_policy": policy}
    inputs = [IMAGE, None, None, np.array([8, 8])]
    assert_like_ort("Resize", inputs, constant=[3], opset=18, **named)


@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialias(mode: str, exclude: int) -> None:
    named = {"mode": mode, "antialias": 1, "exclude_outside": exclude}
    half = np.array([1, 1, 0.5, 0.5], np.float32)
    assert_like_ort("Resize", [floats(1, 2, 8, 8), None, half], constant=[2], opset=18, **named)


PART = np.array([0, 0, 0.3, 0.1, 1, 1, 0.9, 1.3], np.float32)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("wanted", [(None, [2, 3, 7, 5]), ([1, 1, 2.0, 0.6], None)])
def test_part_of_an_image(mode: str, wanted: tuple[object, object]) -> None:
    scales, sizes = wanted
    inputs = [
        floats(2, 3, 6, 8),
        PART,
        None if scales is None else np.array(scales, np.float32),
        None if sizes is None else np.array(sizes),
    ]
    named = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}
    assert_like_ort("Resize", inputs, opset=13, extrapolation_value=7.0, **named)


def test_part_of_an_image_with_antialias_is_refused() -> None:
    named = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    model, _ = one_node(
        "Resize", [IMAGE, PART, UP], constant=[1, 2], opset=18, antialias=1, **named
    )
    with pytest.raises(UnsupportedOperatorsError, match="antialias"):
        import_model(model)


def test_resize_of_version_10_and_upsample() -> None:
    for mode in ("nearest", "linear"):
        assert_like_ort("Resize", [IMAGE, UP], constant=[1], opset=10, mode=mode)
        assert_like_ort("Upsample", [IMAGE, UP], constant=[1], opset=9, mode=mode)
        assert_like_ort("Upsample", [IMAGE], opset=7, mode=mode, scales=UP.tolist())


def test_upsampling_by_torch_where_it_means_the_same() -> None:
    named = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    inputs = [IMAGE, None, UP]
    imported = import_model(
        one_node("Resize", inputs, constant=[2], nearest_mode="floor", **named)[0]
    )
    targets = {node.target for node in imported.module.graph.nodes}
    assert torch.nn.functional.interpolate in targets


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel"])
def test_down_to_one_element(mode: str, coordinates: str) -> None:
    named = {"mode": mode, "coordinate_transformation_mode": coordinates}
    for size in ([1, 1], [1, 6]):
        sizes = np.array([*IMAGE.shape[:2], *size])
        assert_like_ort("Resize", [IMAGE, None, None, sizes], constant=[3], opset=13, **named)
    scales = np.array([1, 1, 1 / IMAGE.shape[2], 1.5], np.float32)
    assert_like_ort("Resize", [IMAGE, None, scales], constant=[2], opset=13, **named)
    assert_like_ort("Resize", [IMAGE, None, scales], opset=13, free_batch=True, **named)
