import numpy as np
import pytest
import torch
from onnx import helper

from optimizer.bridge.module import import_model
from optimizer.bridge.slots import MICROSOFT
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    model_of,
    one_node,
    run_imported,
    run_ort,
)

X, BIAS = floats(2, 5, 8) * 3, floats(8, seed=4)


@pytest.mark.parametrize("name", ["Gelu", "FastGelu", "QuickGelu"])
def test_alone(name: str) -> None:
    assert_like_ort(name, [X], domain=MICROSOFT)


@pytest.mark.parametrize("name", ["BiasGelu", "FastGelu"])
def test_with_a_bias(name: str) -> None:
    assert_like_ort(name, [X, BIAS], domain=MICROSOFT)
    assert_like_ort(name, [X, BIAS], domain=MICROSOFT, constant=(1,))


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_quick_gelu_with_another_factor(alpha: float) -> None:
    assert_like_ort("QuickGelu", [X], domain=MICROSOFT, alpha=alpha)


@pytest.mark.parametrize(
    ("axis", "shape"), [(2, (8,)), (-1, (2, 1, 8)), (1, (5, 8)), (2, (1, 5, 1))]
)
def test_softmax_of_a_sum(axis: int, shape: tuple[int, ...]) -> None:
    bias = floats(*shape, seed=2)
    settings = {"domain": MICROSOFT, "axis": axis, "is_inner_broadcast": 0}
    model, feeds = one_node("BiasSoftmax", [X, bias], **settings)
    # no processor runs the operator itself: what it was fused from, at its opset, is the reference
    parts = [
        helper.make_node("Add", ["x0", "x1"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["y0"], axis=axis),
    ]
    shapes = {name: array.shape for name, array in feeds.items()}
    expected = run_ort(model_of(parts, shapes, ["y0"], {}, opset=11), feeds)
    assert_same(run_imported(import_model(model), feeds), expected)


@pytest.mark.parametrize("name", ["BiasGelu", "FastGelu"])
def test_the_bias_is_a_weight(name: str) -> None:
    imported = import_model(one_node(name, [X, BIAS], domain=MICROSOFT, constant=(1,))[0])
    imported.module(torch.from_numpy(X)).sum().backward()
    (bias,) = imported.module.parameters()
    assert bias.grad is not None
    assert bool((bias.grad != 0).all())


def test_half_precision() -> None:
    half = X.astype(np.float16)
    model, feeds = one_node("BiasGelu", [half, BIAS.astype(np.float16)], domain=MICROSOFT)
    (found,) = run_imported(import_model(model), feeds)
    (wide,) = run_ort(*one_node("BiasGelu", [X, BIAS], domain=MICROSOFT))
    np.testing.assert_allclose(found.astype(np.float32), wide, rtol=5e-3, atol=5e-3)
