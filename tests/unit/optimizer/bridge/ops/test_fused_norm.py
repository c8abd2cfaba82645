from typing import Any

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
    run_imported,
    run_ort,
)

X, SKIP, GAMMA, BETA, BIAS = (
    floats(2, 5, 8),
    floats(2, 5, 8, seed=1),
    floats(8, seed=2),
    floats(8, seed=3),
    floats(8, seed=4),
)
IDS = np.array([[1, 2, 3, 4, 5], [0, 3, 2, 1, 9]], np.int32)
SEGMENTS = np.array([[0, 0, 1, 1, 1], [0, 1, 0, 1, 0]], np.int32)
MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 2, 1, 0]], np.int32)
PLACES = np.array([[3, 1, 0, 2, 4], [0, 1, 2, 3, 5]], np.int32)
TABLES = floats(10, 8), floats(6, 8, seed=1), floats(2, 8, seed=2)


def _compare(
    op_type: str, inputs: list[np.ndarray | None], outputs: list[str], domain: str, **given: Any
) -> None:
    """Some outputs in the middle are left out, which ``one_node`` cannot say."""
    names = ["" if array is None else f"x{n}" for n, array in enumerate(inputs)]
    feeds = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    node = helper.make_node(op_type, names, outputs, name="node", domain=domain, **given)
    shapes = {name: array.shape for name, array in feeds.items()}
    model = model_of([node], shapes, [name for name in outputs if name], {}, examples=feeds)
    assert_same(run_imported(import_model(model), feeds), run_ort(model, feeds))


OUTPUTS = [["y"], ["y", "", "", "s"], ["y", "m"], ["y", "m", "i", "s"], ["y", "", "i"]]


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("given", [(BETA, BIAS), (BETA,), (None, BIAS), ()])
def test_norm_of_a_sum(outputs: list[str], given: tuple[np.ndarray | None, ...]) -> None:
    inputs = [X, SKIP, GAMMA, *given]
    _compare("SkipLayerNormalization", inputs, outputs, MICROSOFT, epsilon=1e-2)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("given", [(BIAS,), ()])
def test_norm_without_means_of_a_sum(outputs: list[str], given: tuple[np.ndarray, ...]) -> None:
    inputs = [X, SKIP, GAMMA, *given]
    _compare("SkipSimplifiedLayerNormalization", inputs, outputs, MICROSOFT, epsilon=1e-2)


@pytest.mark.parametrize("shape", [(1, 5, 8), (5, 8)])
@pytest.mark.parametrize("name", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_a_sum_that_is_broadcast(name: str, shape: tuple[int, ...]) -> None:
    _compare(name, [X, floats(*shape, seed=6), GAMMA], ["y", "", "", "s"], MICROSOFT)


def test_half_precision() -> None:
    inputs: list[np.ndarray | None] = [a.astype(np.float16) for a in (X, SKIP, GAMMA, BETA)]
    _compare("SkipLayerNormalization", inputs, ["y"], MICROSOFT)


@pytest.mark.parametrize("outputs", [["y"], ["y", "i"]])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_norm_without_means(outputs: list[str], axis: int, kind: type) -> None:
    scale = floats(*X.shape[axis:], seed=7).astype(kind)
    inputs: list[np.ndarray | None] = [X.astype(kind), scale]
    _compare("SimplifiedLayerNormalization", inputs, outputs, "", axis=axis, epsilon=1e-3)


@pytest.mark.parametrize("opset", [11, 16])
def test_layer_norm_before_it_was_in_the_standard(opset: int) -> None:
    assert_like_ort("LayerNormalization", [X, GAMMA, BETA], opset=opset, epsilon=1e-2)


EMBEDDED: dict[str, list[np.ndarray | None]] = {
    "all": [IDS, SEGMENTS, *TABLES, GAMMA, BETA, MASK, PLACES],
    "no mask": [IDS, SEGMENTS, *TABLES, GAMMA, BETA],
    "no segments": [IDS, None, *TABLES[:2], None, GAMMA, BETA, MASK, PLACES[:1]],
}


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize("outputs", [["y", "m"], ["y", "m", "s"], ["y", "", "s"]])
def test_embeddings(name: str, outputs: list[str]) -> None:
    _compare("EmbedLayerNormalization", EMBEDDED[name], outputs, MICROSOFT, epsilon=1e-2)


def test_gradients_reach_all_weights() -> None:
    tables = dict(zip(("words", "places", "segment"), TABLES, strict=True))
    weights = {**tables, "g": GAMMA, "b": BETA, "skip": SKIP[:1], "g2": BIAS, "b2": GAMMA * 2}
    weights |= {"shift": BETA + 1, "g3": BIAS + 1, "g4": BETA - 1}
    ops = {"domain": MICROSOFT}
    nodes = [
        helper.make_node(
            "EmbedLayerNormalization",
            ["ids", "segments", "words", "places", "segment", "g", "b"],
            ["a", ""],
            **ops,
        ),
        helper.make_node(
            "SkipLayerNormalization", ["a", "skip", "g2", "b2", "shift"], ["c"], **ops
        ),
        helper.make_node("SkipSimplifiedLayerNormalization", ["c", "a", "g3"], ["d"], **ops),
        helper.make_node("SimplifiedLayerNormalization", ["d", "g4"], ["y"]),
    ]
    feeds = {"ids": IDS, "segments": SEGMENTS}
    model = model_of(nodes, {n: a.shape for n, a in feeds.items()}, ["y"], weights, examples=feeds)
    imported = import_model(model)
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
    target = torch.from_numpy(X)
    result = imported.module(torch.from_numpy(IDS), torch.from_numpy(SEGMENTS))
    (result - target).square().sum().backward()
    parameters = dict(imported.module.named_parameters())
    assert set(parameters) == set(weights)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters.values())
