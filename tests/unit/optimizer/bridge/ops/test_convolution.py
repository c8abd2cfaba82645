from typing import Any

import pytest
import torch

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    one_node,
    run_imported,
    run_ort,
)

CONVS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 9), (6, 4, 3), {"pads": [1, 1]}),
    ((2, 4, 9, 8), (6, 4, 3, 3), {}),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"pads": [0, 1, 2, 1]}),
    ((2, 4, 9, 8), (6, 2, 3, 3), {"group": 2, "dilations": [2, 1]}),
    ((2, 4, 9, 8), (4, 1, 3, 3), {"group": 4, "kernel_shape": [3, 3]}),
    ((2, 4, 9, 8), (6, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((2, 4, 9, 8), (6, 4, 2, 3), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    ((2, 4, 9, 8), (6, 4, 2, 3), {"auto_pad": "VALID"}),
    ((1, 2, 5, 6, 7), (3, 2, 2, 2, 2), {"pads": [1, 0, 0, 0, 1, 0]}),
]


@pytest.mark.parametrize(("x", "weight", "attributes"), CONVS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_convolution(
    x: tuple[int, ...], weight: tuple[int, ...], attributes: dict[str, Any], with_bias: bool
) -> None:
    inputs = [floats(*x), floats(*weight, seed=1)]
    inputs += [floats(weight[0], seed=2)] if with_bias else []
    assert_like_ort("Conv", inputs, constant=range(1, len(inputs)), **attributes)


def test_weights_that_are_inputs() -> None:
    assert_like_ort("Conv", [floats(1, 2, 5, 5), floats(3, 2, 3, 3)])


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_same_padding_of_images_of_any_size(auto_pad: str) -> None:
    model, _ = one_node(
        "Conv",
        [floats(1, 2, 5, 5), floats(3, 2, 3, 3)],
        constant=[1],
        auto_pad=auto_pad,
        strides=[2, 2],
    )
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"size{axis}"
    imported = import_model(model)
    for size in (6, 7):
        feeds = {"x0": floats(2, 2, size, size + 1)}
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        assert_same(run_imported(imported, feeds), run_ort(model, feeds))


TRANSPOSED: list[dict[str, Any]] = [
    {},
    {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"strides": [3, 2], "output_padding": [2, 1]},
    {"strides": [3, 2], "output_padding": [2, 1], "pads": [1, 0, 2, 1]},
    {"dilations": [2, 2], "group": 2},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
    {"strides": [2, 2], "output_shape": [6, 6]},
    {"strides": [2, 2], "output_shape": [6, 6], "auto_pad": "SAME_UPPER"},
    {"strides": [3, 2], "output_shape": [10, 8]},
]


@pytest.mark.parametrize("attributes", TRANSPOSED)
@pytest.mark.parametrize("with_bias", [False, True])
def test_transposed_convolution(attributes: dict[str, Any], with_bias: bool) -> None:
    groups = attributes.get("group", 1)
    inputs = [floats(2, 4, 3, 3), floats(4, 2, 3, 3, seed=1)]
    inputs += [floats(2 * groups, seed=2)] if with_bias else []
    assert_like_ort("ConvTranspose", inputs, constant=range(1, len(inputs)), **attributes)


def test_gradients_reach_weight_and_bias() -> None:
    inputs = [floats(2, 2, 5, 5), floats(3, 2, 3, 3, seed=1), floats(3, seed=2)]
    imported = import_model(one_node("Conv", inputs, constant=[1, 2])[0])
    imported.module(torch.from_numpy(inputs[0])).square().sum().backward()
    for name in ("x1", "x2"):
        gradient = imported.tensors[name].grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def test_four_spatial_axes_are_refused() -> None:
    model, _ = one_node("Conv", [floats(1, 1, 2, 2, 2, 2), floats(1, 1, 1, 1, 1, 1)], constant=[1])
    with pytest.raises(UnsupportedOperatorsError, match="over 4 spatial axes"):
        import_model(model)
