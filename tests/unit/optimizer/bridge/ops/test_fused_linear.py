from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

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

IMAGE, KERNEL, BIAS, ADDED = (
    floats(2, 3, 8, 8),
    floats(4, 3, 3, 3, seed=1),
    floats(4, seed=2),
    floats(2, 4, 8, 8, seed=3),
)


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", []),
        ("Tanh", []),
        ("Sigmoid", []),
        ("LeakyRelu", [0.2]),
        ("Clip", [-0.5, 0.5]),
        ("HardSigmoid", [0.3, 0.4]),
        ("HardSwish", [0.3, 0.4]),
    ],
)
def test_conv_sum_and_activation(activation: str, parameters: list[float]) -> None:
    given = {"activation_params": parameters} if parameters else {}
    inputs = [IMAGE, KERNEL, BIAS, ADDED]
    settings = {"domain": MICROSOFT, "pads": [1] * 4, "activation": activation, **given}
    assert_like_ort("FusedConv", inputs, constant=(1, 2), **settings)


def test_conv_without_activation_bias_and_sum() -> None:
    inputs = [IMAGE, KERNEL, None, None]
    assert_like_ort("FusedConv", inputs, domain=MICROSOFT, pads=[1, 0, 2, 1], strides=[2, 1])


def test_channels_last_conv_is_a_conv_between_transpositions() -> None:
    last = [IMAGE.transpose(0, 2, 3, 1), KERNEL, BIAS, ADDED.transpose(0, 2, 3, 1)]
    settings: dict[str, Any] = {"domain": MICROSOFT, "pads": [1] * 4, "activation": "Relu"}
    model, feeds = one_node("NhwcFusedConv", last, **settings)
    expected = run_ort(*one_node("FusedConv", [IMAGE, KERNEL, BIAS, ADDED], **settings))
    found = run_imported(import_model(model), feeds)
    assert_same(found, [expected[0].transpose(0, 2, 3, 1)])


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", {}),
        ("Tanh", {}),
        ("Sigmoid", {}),
        ("LeakyRelu", {"activation_alpha": 0.2}),
        ("Elu", {"activation_alpha": 0.7}),
        ("Celu", {"activation_alpha": 0.7}),
        ("Selu", {"activation_alpha": 1.5, "activation_gamma": 1.1}),
        ("Softplus", {}),
        ("Softsign", {}),
        ("ThresholdedRelu", {"activation_alpha": 0.3}),
        ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
        ("ScaledTanh", {"activation_alpha": 0.3, "activation_beta": 0.4}),
    ],
)
def test_gemm_and_activation(activation: str, parameters: dict[str, float]) -> None:
    inputs = [floats(4, 5), floats(5, 6, seed=1), floats(6, seed=2)]
    settings = {"activation": activation, "alpha": 0.5, "beta": 2.0, **parameters}
    assert_like_ort("FusedGemm", inputs, domain=MICROSOFT, constant=(1, 2), **settings)


def test_an_activation_that_nobody_fuses_is_refused() -> None:
    for name, parameters in (("Swish", []), ("Clip", [])):
        given = {"activation_params": parameters} if parameters else {}
        model, _ = one_node(
            "FusedConv", [IMAGE, KERNEL], domain=MICROSOFT, activation=name, **given
        )
        with pytest.raises(UnsupportedOperatorsError, match=f"with activation='{name}'"):
            import_model(model)


MATMULS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "alpha": ((2, 3, 4, 5), (2, 3, 5, 6), {"alpha": 0.5}),
    "left": ((2, 3, 5, 4), (2, 3, 5, 6), {"transA": 1, "alpha": 0.5}),
    "both": ((2, 3, 5, 4), (2, 3, 6, 5), {"transA": 1, "transB": 1}),
    "weight": ((2, 3, 4, 5), (6, 5), {"transB": 1}),
    "vector on the left": ((5,), (5, 6), {"transA": 1}),
    "vector on the right": ((2, 3, 4, 5), (5,), {"transB": 1}),
    "batch of left": ((4, 2, 3, 5), (2, 3, 5, 6), {"transBatchA": 1}),
    "batch of left and left": ((5, 2, 3, 4), (2, 3, 5, 6), {"transBatchA": 1, "transA": 1}),
    "batch of right": ((2, 3, 4, 5), (5, 2, 3, 6), {"transBatchB": 1}),
    "batch of both": ((4, 2, 5), (6, 2, 5), {"transBatchA": 1, "transBatchB": 1, "transB": 1}),
}


@pytest.mark.parametrize("name", MATMULS)
def test_matmul(name: str) -> None:
    left, right, attributes = MATMULS[name]
    inputs = [floats(*left), floats(*right, seed=1)]
    assert_like_ort("FusedMatMul", inputs, domain=MICROSOFT, **attributes)
    assert_like_ort("FusedMatMul", inputs, domain=MICROSOFT, constant=(1,), **attributes)


def test_its_older_name() -> None:
    inputs = [floats(2, 5, 4), floats(2, 5, 6, seed=1)]
    assert_like_ort("TransposeMatMul", inputs, domain=MICROSOFT, transA=1, alpha=2.0)


def test_a_batch_that_is_none_is_refused() -> None:
    inputs = [floats(4, 5), floats(5, 6)]
    model, _ = one_node("FusedMatMul", inputs, domain=MICROSOFT, transBatchA=1)
    with pytest.raises(UnsupportedOperatorsError, match="transBatchA of a tensor of 2 axes"):
        import_model(model)


def test_where_onnx_runtime_is_wrong_is_refused() -> None:
    left, right = floats(4, 4), floats(4, seed=1)
    model, feeds = one_node("FusedMatMul", [left, right], domain=MICROSOFT, transA=1)
    with pytest.raises(UnsupportedOperatorsError, match="with transA and a vector on the right"):
        import_model(model)
    np.testing.assert_allclose(run_ort(model, feeds)[0], left @ right, rtol=1e-5)  # not left.T


def test_gradients_reach_all_weights() -> None:
    weights = {
        "kernel": KERNEL,
        "bias": BIAS,
        "dense": floats(6, 64, seed=5),
        "last": floats(6, 2, seed=6),
        "shift": floats(2, seed=7),
    }
    nodes = [
        helper.make_node(
            "FusedConv",
            ["x", "kernel", "bias"],
            ["a"],
            domain=MICROSOFT,
            pads=[1] * 4,
            activation="Tanh",
        ),
        helper.make_node("Flatten", ["a"], ["b"], axis=3),
        helper.make_node("Reshape", ["b", "shape"], ["c"]),
        helper.make_node("FusedMatMul", ["c", "dense"], ["d"], domain=MICROSOFT, transB=1),
        helper.make_node(
            "FusedGemm", ["d", "last", "shift"], ["y"], domain=MICROSOFT, activation="Sigmoid"
        ),
    ]
    shape = np.array([-1, 64])
    model = model_of(nodes, {"x": IMAGE.shape}, ["y"], {**weights, "shape": shape})
    imported = import_model(model)
    imported.module(torch.from_numpy(IMAGE)).square().sum().backward()
    parameters = dict(imported.module.named_parameters())
    assert set(parameters) == set(weights)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters.values())
