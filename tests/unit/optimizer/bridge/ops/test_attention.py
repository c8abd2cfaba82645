from typing import Any

import numpy as np
import pytest
import torch

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, one_node, run_imported

QUERY, KEY, VALUE = floats(2, 4, 3, 8), floats(2, 2, 5, 8, seed=1), floats(2, 2, 5, 6, seed=2)


def _expected(mask: np.ndarray, softcap: float = 0.0) -> np.ndarray:
    key, value = np.repeat(KEY, 2, 1), np.repeat(VALUE, 2, 1)
    scores = QUERY @ key.swapaxes(-1, -2) / np.sqrt(8)
    if softcap:
        scores = np.tanh(scores / softcap) * softcap
    weights = np.exp(scores) * mask
    return (weights / weights.sum(-1, keepdims=True)) @ value


CASES: dict[str, tuple[dict[str, Any], np.ndarray]] = {
    "plain": ({}, np.ones((3, 5))),
    "causal": ({"is_causal": 1}, np.tri(3, 5)),
    "softcap": ({"softcap": 0.5}, np.ones((3, 5))),
    "window": ({"left_window_size": 1, "right_window_size": 1}, np.tri(3, 5, 1) - np.tri(3, 5, -2)),
}


@pytest.mark.parametrize("name", CASES)
def test_against_the_formula(name: str) -> None:
    attributes, mask = CASES[name]
    model, feeds = one_node("Attention", [QUERY, KEY, VALUE], opset=25, **attributes)
    expected = _expected(mask, attributes.get("softcap", 0.0)).astype(np.float32)
    assert_same(run_imported(import_model(model), feeds), [expected])


def test_boolean_and_additive_masks() -> None:
    allowed = np.random.default_rng(0).random((3, 5)) < 0.6
    allowed[:, 0] = True
    expected = _expected(allowed).astype(np.float32)
    added = np.where(allowed, 0, -np.inf).astype(np.float32)
    for mask in (allowed, added):
        model, feeds = one_node("Attention", [QUERY, KEY, VALUE, mask], opset=25)
        assert_same(run_imported(import_model(model), feeds), [expected])


def test_flat_inputs_are_split_into_heads() -> None:
    flat = [array.swapaxes(1, 2).reshape(2, array.shape[2], -1) for array in (QUERY, KEY, VALUE)]
    model, feeds = one_node("Attention", flat, opset=25, q_num_heads=4, kv_num_heads=2)
    expected = _expected(np.ones((3, 5))).swapaxes(1, 2).reshape(2, 3, -1).astype(np.float32)
    assert_same(run_imported(import_model(model), feeds), [expected])


def test_gradients_reach_all_three_inputs() -> None:
    imported = import_model(one_node("Attention", [QUERY, KEY, VALUE], opset=25)[0])
    inputs = [torch.from_numpy(array).requires_grad_() for array in (QUERY, KEY, VALUE)]
    imported.module(*inputs).square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in inputs)
