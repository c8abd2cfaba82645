"""Networks as ONNX Runtime's quantiser writes them: pairs of Quantize- and DequantizeLinear."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization as quantization
import pytest
import torch
from onnx import helper

from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.roles import integer_weights
from optimizer.bridge.slots import MICROSOFT
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    floats,
    model_of,
    one_node,
    run_imported,
    run_ort,
)

SHAPE = (4, 3, 12, 12)
WEIGHTS = {
    "first": floats(8, 3, 3, 3) * np.float32(0.3),
    "first_bias": floats(8, seed=1),
    "second": floats(8, 8, 3, 3, seed=2) * np.float32(0.2),
    "dense": floats(8, 5, seed=3),
}


class _Reader(quantization.CalibrationDataReader):
    def __init__(self) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = iter(
            {"x": floats(*SHAPE, seed=seed)} for seed in range(3)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _network() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "first", "first_bias"], ["a"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "second"], ["c"], name="second", pads=[1] * 4),
        helper.make_node("Add", ["b", "c"], ["d"], name="add"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "dense"], ["y"], name="dense"),
    ]
    model = model_of(nodes, {"x": SHAPE}, ["y"], WEIGHTS)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model


def _quantised(folder: Path, **settings: Any) -> onnx.ModelProto:
    onnx.save(_network(), folder / "float.onnx")
    quantization.quantize_static(
        folder / "float.onnx", folder / "quantised.onnx", _Reader(), **settings
    )
    return onnx.load(folder / "quantised.onnx")


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "per channel": {"per_channel": True, "activation_type": quantization.QuantType.QInt8},
    "16 bits": {
        "activation_type": quantization.QuantType.QUInt16,
        "extra_options": {"UseQDQContribOps": True},
    },
}


def _is_one_step_off_at_most(found: np.ndarray, expected: np.ndarray) -> bool:
    """A sum that is rounded in another order may fall on the other side of a level."""
    levels = np.unique(expected)
    step = np.diff(levels).min() if len(levels) > 1 else 0
    steps = np.abs(found - expected) / step
    close = steps < 1e-3
    return bool((close | (np.abs(steps - 1) < 1e-3)).all() and close.mean() > 0.8)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("keeps_floats", [False, True])
def test_equal_to_onnx_runtime(name: str, keeps_floats: bool, tmp_path: Path) -> None:
    settings = dict(FORMS[name])
    options = {**settings.pop("extra_options", {}), "AddQDQPairToWeight": keeps_floats}
    model = _quantised(tmp_path, extra_options=options, **settings)
    imported = import_model(model)
    feeds = {"x": floats(*SHAPE, seed=9)}
    (found,), (expected,) = run_imported(imported, feeds), run_ort(model, feeds)
    assert _is_one_step_off_at_most(found, expected)
    (plain,) = run_ort(_network(), feeds)
    assert np.abs(found - plain).max() > 0  # it has been quantised


def test_integers_are_no_weights_to_train_and_this_is_said(tmp_path: Path) -> None:
    imported = import_model(_quantised(tmp_path))
    assert not list(imported.module.parameters())
    assert {name.removesuffix("_quantized") for name in imported.integer_weights} == set(WEIGHTS)


def _training(tmp_path: Path) -> ImportedModule:
    return import_model(_quantised(tmp_path, extra_options={"AddQDQPairToWeight": True}))


def test_float_weights_before_a_quantisation_train(tmp_path: Path) -> None:
    imported = _training(tmp_path)
    module = imported.module.train()
    parameters = dict(module.named_parameters())
    assert set(parameters) == {"first", "second", "dense"}  # the bias is 32-bit integers
    assert imported.integer_weights == ("first_bias_quantized",)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02)
    x, target = torch.from_numpy(floats(*SHAPE, seed=9)), torch.from_numpy(floats(4, 5, seed=8))
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (module(x) - target).square().mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_trained_weights_go_back_into_the_file(tmp_path: Path) -> None:
    imported = _training(tmp_path)
    with torch.no_grad():
        for parameter in imported.module.parameters():
            parameter.mul_(0.9)
    model = onnx.load(tmp_path / "quantised.onnx")
    weights = imported.weights()
    for proto in model.graph.initializer:
        if proto.name in weights:
            proto.CopyFrom(onnx.numpy_helper.from_array(weights[proto.name], proto.name))
    feeds = {"x": floats(*SHAPE, seed=9)}
    (found,), (expected,) = run_imported(imported, feeds), run_ort(model, feeds)
    assert _is_one_step_off_at_most(found, expected)


@pytest.mark.parametrize(
    ("op_type", "domain"),
    [
        ("QLinearConv", ""),
        ("ConvInteger", ""),
        ("MatMulInteger", ""),
        ("DynamicQuantizeLSTM", MICROSOFT),
        ("QLinearAdd", MICROSOFT),
        ("MatMulNBits", MICROSOFT),
    ],
)
def test_networks_of_integers_only_are_refused_with_the_reason(op_type: str, domain: str) -> None:
    model, _ = one_node(op_type, [floats(2, 3)], domain=domain)
    with pytest.raises(
        UnsupportedOperatorsError,
        match=f"'{op_type}' .* computes with integers, so there are no float weights to train",
    ):
        import_model(model)


def test_integers_that_are_no_weights_are_not_listed() -> None:
    nodes = [
        helper.make_node("Gather", ["x", "index"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    fixed = {
        "index": np.array([1, 0], np.int32),
        "w": np.ones((3, 2), np.int8),
        "scale": np.float32([0.1, 0.2]),
        "zero": np.zeros(2, np.int8),
    }
    model = model_of(nodes, {"x": (2, 3)}, ["y"], fixed)
    assert integer_weights(model.graph) == ("w",)
