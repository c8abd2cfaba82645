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

FLAT = [floats(2, 3, 4, 5), np.clip(floats(2, 3, 4, 2), -1.3, 1.3)]
DEEP = [floats(2, 3, 4, 5, 6), np.clip(floats(2, 2, 3, 4, 3), -1.3, 1.3)]


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_sampling(mode: str, padding: str, align: int) -> None:
    named = {"padding_mode": padding, "align_corners": align}
    old = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    assert_like_ort("GridSample", FLAT, opset=16, mode=old, **named)
    assert_like_ort("GridSample", FLAT, opset=20, mode=mode, **named)
    if mode != "cubic":
        assert_like_ort("GridSample", DEEP, opset=20, mode=mode, **named)


def test_sampling_passes_gradients_on_to_image_and_grid() -> None:
    assert_trains("GridSample", FLAT, opset=20)
    assert_trains("GridSample", DEEP, opset=20)


def test_cubic_sampling_of_volumes_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorsError, match="5 axes with mode='cubic'"):
        import_model(one_node("GridSample", DEEP, opset=20, mode="cubic")[0])
