from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from optimizer.bridge.module import import_model
from optimizer.bridge.slots import MICROSOFT
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    one_node,
    run_imported,
    run_ort,
)

Inputs = list[np.ndarray | None]


def integers(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def _random_mask(*shape: int) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) < 0.6).astype(np.int32)


def _compare(op_type: str, inputs: Inputs, outputs: int, **given: Any) -> None:
    model, feeds = one_node(op_type, inputs, outputs=outputs, domain=MICROSOFT, **given)
    if outputs == 4:  # scores, whose type ONNX Runtime does not infer
        model.graph.output[3].type.tensor_type.elem_type = TensorProto.FLOAT
    assert_same(run_imported(import_model(model), feeds), run_ort(model, feeds))


X, WEIGHT, BIAS = floats(2, 4, 8), floats(8, 24, seed=1), floats(24, seed=2)
PAST = floats(2, 2, 2, 5, 4, seed=8)
LATE = integers([0, 1, 1, 1, 1, 1, 1, 1, 1], [1] * 7 + [0] * 2)
ATTENTION: dict[str, Inputs] = {
    "plain": [X, WEIGHT, BIAS],
    "no bias": [X, WEIGHT],
    "lengths": [X, WEIGHT, BIAS, integers(2, 4)],
    "all padding": [X, WEIGHT, BIAS, integers(0, 4)],
    "ends and starts": [X, WEIGHT, BIAS, integers(3, 4, 1, 0)],
    "a mask per key": [X, WEIGHT, BIAS, integers([0, 1, 1, 1], [1, 0, 2, 0])],
    "a mask per query and key": [X, WEIGHT, BIAS, _random_mask(2, 4, 4)],
    "added": [X, WEIGHT, BIAS, None, None, floats(2, 2, 4, 4, seed=5)],
    "added for all": [X, WEIGHT, BIAS, integers(3, 4), None, floats(1, 1, 4, 4, seed=5)],
    "past": [X, WEIGHT, BIAS, None, PAST],
    "past and lengths": [X, WEIGHT, BIAS, integers(7, 9), PAST],
    "past and a mask": [X, WEIGHT, BIAS, LATE, PAST],
    "past and a mask per query": [X, WEIGHT, BIAS, _random_mask(2, 4, 9), PAST],
}


@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("filtered", [{}, {"mask_filter_value": -2.0}])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str, filtered: dict[str, float], unidirectional: int) -> None:
    settings = {"num_heads": 2, "unidirectional": unidirectional, **filtered}
    _compare("Attention", ATTENTION[name], 2, **settings)


def test_attention_with_a_scale() -> None:
    _compare("Attention", [X, WEIGHT, BIAS], 1, num_heads=2, scale=0.3)


def test_attention_with_values_of_another_width() -> None:
    inputs: Inputs = [X, floats(8, 28), floats(28)]
    _compare("Attention", inputs, 1, num_heads=2, qkv_hidden_sizes=[8, 8, 12])


QUERY, KEY, VALUE = floats(2, 3, 8), floats(2, 5, 8, seed=1), floats(2, 5, 12, seed=2)
PARTS = [QUERY, KEY, VALUE]
OWN = [QUERY, QUERY * 2, floats(2, 3, 8, seed=4)]
PAST_PARTS = [floats(2, 2, 4, 4, seed=7), floats(2, 2, 4, 4, seed=8)]
APART = [QUERY, floats(2, 2, 5, 4), floats(2, 2, 5, 4, seed=3)]
MULTI_HEAD: dict[str, Inputs] = {
    "plain": [*PARTS],
    "bias": [*PARTS, floats(28)],
    "lengths": [*PARTS, None, integers(2, 5)],
    "a mask per key": [*PARTS, None, integers([1, 0, 1, 1, 1], [0] * 5)],
    "a mask per query and key": [*PARTS, None, _random_mask(2, 3, 5)],
    "added": [*PARTS, None, None, floats(1, 2, 3, 5, seed=6)],
    "added and masked": [*PARTS, None, integers(2, 5), floats(2, 1, 3, 5, seed=6)],
    "heads on an axis": [*APART],
    "heads on an axis and masked": [*APART, None, integers([1, 0, 1, 1, 1], [0, 1, 0, 1, 0])],
    "heads on an axis and a bias": [*APART, floats(24)],
    "past": [*OWN, None, None, None, *PAST_PARTS],
    "past and a mask": [*OWN, None, _random_mask(2, 7), None, *PAST_PARTS],
    "past, bias and added": [*OWN, floats(24), None, floats(1, 2, 3, 7), *PAST_PARTS],
}


@pytest.mark.parametrize("filtered", [{}, {"mask_filter_value": -2.0}])
@pytest.mark.parametrize("name", MULTI_HEAD)
def test_multi_head(name: str, filtered: dict[str, float]) -> None:
    _compare("MultiHeadAttention", MULTI_HEAD[name], 3, num_heads=2, **filtered)
    _compare("MultiHeadAttention", MULTI_HEAD[name], 3, num_heads=2, scale=0.4, **filtered)


@pytest.mark.parametrize("name", ["plain", "lengths", "a mask per key"])
def test_multi_head_with_its_scores(name: str) -> None:
    _compare("MultiHeadAttention", MULTI_HEAD[name], 4, num_heads=2)


@pytest.mark.parametrize(
    "inputs",
    [OWN, [KEY, QUERY, OWN[2]], [*OWN, None, integers(2, 3)], MULTI_HEAD["past and a mask"]],
)
def test_multi_head_that_looks_back_only(inputs: Inputs) -> None:
    _compare("MultiHeadAttention", inputs, 3, num_heads=2, unidirectional=1)


def test_packed_projections_are_what_they_hold() -> None:
    # no processor runs these; the parts one by one are the reference
    packed, pair = floats(2, 3, 2, 3, 4), floats(2, 5, 2, 2, 4)
    parts = [packed[:, :, :, n].reshape(2, 3, 8) for n in range(3)]
    pairs = [QUERY, *(pair[:, :, :, n].reshape(2, 5, 8) for n in range(2))]
    for inputs, separate in (([packed], parts), ([QUERY, pair], pairs)):
        found_model, feeds = one_node("MultiHeadAttention", inputs, domain=MICROSOFT, num_heads=2)
        expected = run_ort(*one_node("MultiHeadAttention", separate, domain=MICROSOFT, num_heads=2))
        assert_same(run_imported(import_model(found_model), feeds), expected)


def _model(op_type: str, inputs: Inputs, **given: Any) -> onnx.ModelProto:
    return one_node(op_type, inputs, domain=MICROSOFT, num_heads=2, **given)[0]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_model("Attention", [X, WEIGHT, BIAS], do_rotary=1), "with do_rotary=1"),
        (
            _model("Attention", [X, WEIGHT, BIAS], past_present_share_buffer=1),
            "with past_present_share_buffer=1",
        ),
        (_model("Attention", [X, WEIGHT, BIAS, None, PAST]), "without the present"),
        (_model("MultiHeadAttention", MULTI_HEAD["past"]), "without the present"),
        (_model("Attention", [X, WEIGHT, BIAS, _random_mask(2, 1, 4, 4)]), "mask of four axes"),
        (_model("MultiHeadAttention", [*PARTS], unidirectional=1), "more keys than queries"),
        (
            _model("MultiHeadAttention", [*OWN, None, None, None, *PAST_PARTS, integers(4)]),
            "a buffer that past and present share",
        ),
    ],
)
def test_what_is_not_covered_is_said(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorsError, match=reason):
        import_model(model)


def test_gradients_reach_all_weights() -> None:
    weights = {
        "w": WEIGHT,
        "b": BIAS,
        "added": floats(1, 2, 4, 4),
        "shift": floats(24, seed=9),
        "place": floats(1, 2, 4, 4, seed=3),
    }
    nodes = [
        helper.make_node(
            "Attention", ["x", "w", "b", "", "", "added"], ["a"], domain=MICROSOFT, num_heads=2
        ),
        helper.make_node(
            "MultiHeadAttention",
            ["a", "x", "a", "shift", "", "place"],
            ["y"],
            domain=MICROSOFT,
            num_heads=2,
        ),
    ]
    model = model_of(nodes, {"x": X.shape}, ["y"], weights)
    imported = import_model(model)
    assert_same(run_imported(imported, {"x": X}), run_ort(model, {"x": X}))
    imported.module(torch.from_numpy(X)).square().sum().backward()
    parameters = dict(imported.module.named_parameters())
    assert set(parameters) == set(weights)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters.values())


def test_a_mask_as_an_initializer_is_no_weight() -> None:
    mask = np.where(np.tri(4, 4), 0, -10000.0).astype(np.float32)[None, None]
    inputs: Inputs = [X, WEIGHT, BIAS, None, None, mask]
    model, feeds = one_node("Attention", inputs, domain=MICROSOFT, num_heads=2, constant=(1, 2, 5))
    imported = import_model(model)
    assert {name for name, _ in imported.module.named_parameters()} == {"x1", "x2"}
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
