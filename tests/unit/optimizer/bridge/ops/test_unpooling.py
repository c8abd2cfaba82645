import pytest

from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_trains,
    floats,
    one_node,
    run_ort,
)


@pytest.mark.parametrize("spatial", [(8,), (6, 8), (4, 6, 4)])
@pytest.mark.parametrize("opset", [9, 11, 22])
def test_maxima_go_back_where_they_were(spatial: tuple[int, ...], opset: int) -> None:
    window = {"kernel_shape": [2] * len(spatial), "strides": [2] * len(spatial)}
    model, feeds = one_node("MaxPool", [floats(2, 3, *spatial)], outputs=2, **window)
    maxima, index = run_ort(model, feeds)
    assert_like_ort("MaxUnpool", [maxima, index], opset=opset, **window)
    assert_trains("MaxUnpool", [maxima, index], opset=opset, **window)


def test_pads_shrink_the_image() -> None:
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    model, feeds = one_node("MaxPool", [floats(2, 3, 7, 9)], outputs=2, **window)
    assert_like_ort("MaxUnpool", run_ort(model, feeds), opset=11, **window)
