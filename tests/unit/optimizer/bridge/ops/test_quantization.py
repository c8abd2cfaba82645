from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from optimizer.bridge.module import import_model
from optimizer.bridge.slots import MICROSOFT
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    model_of,
    one_node,
    run_imported,
    run_ort,
)

X = np.concatenate([floats(2, 6, 3) * 2, np.float32([[[np.inf, -np.inf, 0]] * 6])])
ONE = np.float32(0.03)
PER_CHANNEL = (np.arange(6) * 0.01 + 0.02).astype(np.float32)
IN_BLOCKS = (np.arange(3 * 2 * 3).reshape(3, 2, 3) * 0.01 + 0.02).astype(np.float32)
SCALES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "tensor": (np.asarray(ONE), {}),
    "tensor of one element": (np.float32([0.03]), {"axis": 0}),
    "axis": (PER_CHANNEL, {"axis": 1}),
    "last axis": (PER_CHANNEL[:3].copy(), {"axis": -1}),
    "blocks": (IN_BLOCKS, {"axis": 1, "block_size": 3}),
    "blocks with a short end": (IN_BLOCKS, {"axis": 1, "block_size": 4}),
}
KINDS = ["UINT8", "INT8", "UINT16", "INT16", "UINT4", "INT4"]


def _there_and_back(
    kind: str, scale: np.ndarray, given: dict[str, Any], *, domain: str = "", x: np.ndarray = X
) -> onnx.ModelProto:
    """QuantizeLinear and DequantizeLinear of a type with zero points that are not 0."""
    element_type = getattr(TensorProto, kind)
    signed = not kind.startswith("U")
    numbers = (np.arange(scale.size) % 5 - (2 if signed else 0)).tolist()
    if kind.startswith("FLOAT"):
        numbers = [0] * scale.size
    zero = helper.make_tensor("zero", element_type, scale.shape, numbers)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], domain=domain, **given),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], domain=domain, **given),
    ]
    model = model_of(nodes, {"x": x.shape}, ["y"], {"scale": scale}, opset=23)
    model.graph.initializer.append(zero)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCALES)
def test_there_and_back(kind: str, name: str) -> None:
    scale, given = SCALES[name]
    model = _there_and_back(kind, scale, given)
    assert_same(run_imported(import_model(model), {"x": X}), run_ort(model, {"x": X}))


@pytest.mark.parametrize("kind", ["UINT8", "INT8", "UINT16", "INT16"])
def test_operators_of_the_runtime_itself(kind: str) -> None:
    model = _there_and_back(kind, PER_CHANNEL, {"axis": 1}, domain=MICROSOFT)
    assert_same(run_imported(import_model(model), {"x": X}), run_ort(model, {"x": X}))


@pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"])
@pytest.mark.parametrize("saturate", [0, 1])
def test_float8(kind: str, saturate: int) -> None:
    x = X * np.float32(1000)
    model = _there_and_back(kind, np.asarray(np.float32(0.5)), {}, x=x)
    model.graph.node[0].attribute.append(helper.make_attribute("saturate", saturate))
    found, expected = run_imported(import_model(model), {"x": x}), run_ort(model, {"x": x})
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("name", SCALES)
def test_quantized_numbers(kind: type, name: str) -> None:
    scale, given = SCALES[name]
    zero = np.asarray(np.arange(scale.size).reshape(scale.shape) % 5).astype(kind)
    assert_like_ort("QuantizeLinear", [X, scale, zero], opset=21, **given)
    assert_like_ort("QuantizeLinear", [X, scale, zero], opset=21, constant=(1, 2), **given)


def test_without_a_zero_point_the_type_is_stated_or_uint8() -> None:
    assert_like_ort("QuantizeLinear", [X, np.asarray(ONE)], opset=21)
    stated = {"output_dtype": TensorProto.INT16}
    assert_like_ort("QuantizeLinear", [X, np.asarray(ONE)], opset=21, **stated)


@pytest.mark.parametrize("opset", [10, 13, 19])
def test_older_versions(opset: int) -> None:
    inputs = [X, np.asarray(ONE), np.asarray(np.uint8(7))]
    assert_like_ort("QuantizeLinear", inputs, opset=opset)
    numbers = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert_like_ort("DequantizeLinear", [numbers, *inputs[1:]], opset=opset)


def test_half_precision() -> None:
    half, scale = X.astype(np.float16), np.asarray(np.float16(0.03))
    zero = np.asarray(np.int8(3))
    assert_like_ort("QuantizeLinear", [half, scale, zero], opset=21)
    numbers = np.arange(-12, 12, dtype=np.int8).reshape(2, 4, 3)
    assert_like_ort("DequantizeLinear", [numbers, scale, zero], opset=21)


def test_integers_are_quantized_as_well() -> None:
    numbers = np.arange(-400, 400, 7, dtype=np.int32)
    inputs = [numbers, np.asarray(np.float32(2.5)), np.asarray(np.int8(1))]
    model, feeds = one_node("QuantizeLinear", inputs)  # ONNX Runtime does not
    expected = (np.rint(numbers / 2.5) + 1).clip(-128, 127).astype(np.int8)
    assert_same(run_imported(import_model(model), feeds), [expected])


def test_a_bias_of_32_bits_keeps_its_digits() -> None:
    numbers = np.array([2**31 - 1, -(2**31), 16777217, 3], np.int32)
    assert_like_ort("DequantizeLinear", [numbers, np.asarray(np.float32(1e-9))])
    assert_like_ort("DequantizeLinear", [numbers, PER_CHANNEL[:4].copy()], axis=0)


def test_a_precision_of_its_own() -> None:
    # 1 / 0.3 in half precision is another number than in single precision
    x, scale = np.float16([1, 2, 3, 10]), np.float32([0.0003])
    found = {}
    for precision in (TensorProto.FLOAT, TensorProto.FLOAT16):
        model, feeds = one_node(
            "QuantizeLinear",
            [x, scale],
            opset=23,
            output_dtype=TensorProto.UINT16,
            precision=precision,
        )
        (found[precision],) = run_imported(import_model(model), feeds)
    single = np.rint(x.astype(np.float32) / scale).clip(0, 65535)
    half = np.rint((x / scale.astype(np.float16)).astype(np.float32)).clip(0, 65535)
    np.testing.assert_array_equal(found[TensorProto.FLOAT], single)
    np.testing.assert_array_equal(found[TensorProto.FLOAT16], half)
    assert (single != half).any()


def _gradient(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    weight = torch.linspace(0.5, 1.5, x.size).reshape(x.shape)
    result = import_model(model).module(tensor)
    (result * weight.reshape(result.shape)).sum().backward()
    assert tensor.grad is not None
    return (tensor.grad / weight).numpy()


@pytest.mark.parametrize("kind", [*KINDS, "FLOAT8E4M3FN", "FLOAT4E2M1"])
def test_gradients_pass_within_bounds(kind: str) -> None:
    high = 32767.0 if "16" in kind else 448.0 if "8" in kind else 7.0
    x = np.linspace(-2.5 * high, 2.5 * high, 24, dtype=np.float32).reshape(4, 6)
    scale = np.asarray(np.float32(1.5))
    gradient = _gradient(_there_and_back(kind, scale, {}, x=x), x)
    limits = {"FLOAT8E4M3FN": (-448, 448), "FLOAT4E2M1": (-6, 6)}
    low, high = limits.get(kind) or _bounds(kind)
    inside = (x / scale >= low) & (x / scale <= high)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_allclose(gradient, inside.astype(np.float32), rtol=1e-6)


def _bounds(kind: str) -> tuple[int, int]:
    """Bounds before the zero point is added, which is 0 for unsigned types and -2 for others."""
    bits = int(kind.strip("UINT"))
    return (0, 2**bits - 1) if kind.startswith("U") else (2 - 2 ** (bits - 1), 1 + 2 ** (bits - 1))


@pytest.mark.parametrize(
    "between",
    [
        [helper.make_node("Transpose", ["q"], ["p"], perm=[1, 0])],
        [helper.make_node("Reshape", ["q", "shape"], ["p"])],
        [
            helper.make_node("Unsqueeze", ["q", "axes"], ["r"]),
            helper.make_node("Transpose", ["r"], ["p"], perm=[2, 0, 1]),
        ],
    ],
)
def test_gradients_pass_through_moved_numbers(between: list[onnx.NodeProto]) -> None:
    x = floats(4, 6)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        *between,
        helper.make_node("DequantizeLinear", ["p", "scale", "zero"], ["y"]),
    ]
    fixed = {"scale": np.asarray(ONE), "zero": np.asarray(np.int8(3))}
    fixed |= {"shape": np.array([6, 4]), "axes": np.array([0])}
    model = model_of(nodes, {"x": x.shape}, ["y"], fixed)
    assert_same(run_imported(import_model(model), {"x": x}), run_ort(model, {"x": x}))
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    import_model(model).module(tensor).sum().backward()
    assert tensor.grad is not None
    np.testing.assert_allclose(tensor.grad.numpy(), np.ones_like(x), rtol=1e-6)


def test_a_scale_that_is_computed_gets_its_gradient() -> None:
    """Of a step size s: round(x / s) - x / s inside the bounds, the bound itself outside."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "zero"], ["y"]),
    ]
    x = floats(5, 7) * 3
    model = model_of(nodes, {"x": x.shape, "s": ()}, ["y"], {"zero": np.asarray(np.int8(0))})
    step = torch.tensor(0.017, requires_grad=True)
    import_model(model).module(torch.from_numpy(x), step).sum().backward()
    scaled = x / np.float32(0.017)
    clipped = scaled.clip(-128, 127)
    expected = np.rint(clipped) - np.where(clipped == scaled, scaled, 0)
    assert step.grad is not None
    np.testing.assert_allclose(step.grad.item(), expected.sum(), rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.0])
@pytest.mark.parametrize("shift", [0.0, 10.0, -10.0])
def test_quantizing_by_range(scale: float, shift: float) -> None:
    x = (floats(4, 6) * scale + shift * scale).astype(np.float32)
    assert_like_ort("DynamicQuantizeLinear", [x], outputs=3)


def test_quantizing_by_range_passes_gradients() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    x = floats(4, 6)
    model = model_of(nodes, {"x": x.shape}, ["y"], {})
    assert_same(run_imported(import_model(model), {"x": x}), run_ort(model, {"x": x}))
    gradient = _gradient(model, x)
    inner = (x < x.max()) & (x > x.min())  # the ends of the range move the scale as well
    assert np.abs(gradient[inner] - 1).max() < 1e-5


@pytest.mark.parametrize("name", ["INT4", "UINT2", "FLOAT4E2M1"])
def test_stored_numbers_of_a_few_bits(name: str) -> None:
    numbers = [[0, 1], [1, 0], [1, 1]]
    stored = helper.make_tensor("w", getattr(TensorProto, name), (3, 2), np.ravel(numbers).tolist())
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["d"], axis=1),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    scale = np.float32([0.5, 2])
    model = model_of(nodes, {"x": (2, 3)}, ["y"], {"scale": scale}, opset=25)
    model.graph.initializer.append(stored)
    imported = import_model(model)
    x = floats(2, 3)
    (found,) = run_imported(imported, {"x": x})
    np.testing.assert_allclose(found, x @ (np.float32(numbers) * scale), rtol=1e-6)


def test_blocks_along_an_axis_of_unknown_size_are_refused() -> None:
    model = _there_and_back("INT8", IN_BLOCKS, {"axis": 1, "block_size": 3})
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    with pytest.raises(UnsupportedOperatorsError, match="along an axis of unknown size"):
        import_model(model)


def test_to_powers_of_two_is_refused() -> None:
    model, _ = one_node(
        "QuantizeLinear", [X, np.asarray(ONE)], opset=25, output_dtype=TensorProto.FLOAT8E8M0
    )
    with pytest.raises(UnsupportedOperatorsError, match="to FLOAT8E8M0 is not covered"):
        import_model(model)


CASTS = [
    *("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"),
    *("INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1", "FLOAT8E8M0", "BFLOAT16"),
]


@pytest.mark.parametrize("name", CASTS)
def test_casts_to_narrow_types_and_back(name: str) -> None:
    x = np.float32([[0.3, 1.7, 2.0], [3.4, 5.0, 470.0], [0.0, 1e6, 0.125]])
    element_type = getattr(TensorProto, name)
    nodes = [
        helper.make_node("Cast", ["x"], ["n"], to=element_type),
        helper.make_node("Transpose", ["n"], ["t"]),
        helper.make_node("CastLike", ["x", "t"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    model = model_of(nodes, {"x": x.shape}, ["y"], {}, opset=25)
    (found,) = run_imported(import_model(model), {"x": x})
    known = x.astype(helper.tensor_dtype_to_np_dtype(element_type))
    if name.startswith(("FLOAT8E4", "FLOAT8E5")):
        top = float(ml_dtypes.finfo(known.dtype).max)
        known = x.clip(-top, top).astype(known.dtype)
    if name == "FLOAT8E8M0":  # rounded up
        known = numpy_helper.to_float8e8m0(x)
    if "INT" in name:
        low, count = (0 if name[0] == "U" else -(2 ** (int(name[-1]) - 1))), 2 ** int(name[-1])
        known = (x.astype(np.int64) - low) % count + low
    np.testing.assert_array_equal(found, known.astype(np.float32))
