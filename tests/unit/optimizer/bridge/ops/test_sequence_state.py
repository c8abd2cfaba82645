from typing import Any

import numpy as np
import pytest

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_like_reference,
    assert_trains,
    floats,
    one_node,
)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_reversal_of_sequences(axes: tuple[int, int]) -> None:
    time, batch = axes
    x = floats(4, 4, 3)
    named = {"time_axis": time, "batch_axis": batch}
    for lengths in (np.array([1, 4, 2, 3]), np.array([1, 1, 1, 4])):
        assert_like_ort("ReverseSequence", [x, lengths], opset=10, **named)
        assert_like_ort("ReverseSequence", [x, lengths], opset=10, constant=[1], **named)


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [-2, 1])
def test_writing_into_a_cache(mode: str, axis: int) -> None:
    update = floats(2, 3, 2, 5, seed=3) if axis == -2 else floats(2, 2, 6, 5, seed=3)
    places = np.array([1, 4] if mode == "linear" and axis == -2 else [0, 1])
    if mode == "circular":
        places = places + 2
    inputs = [floats(2, 3, 6, 5), update, places]
    assert_like_reference("TensorScatter", inputs, opset=24, mode=mode, axis=axis)
    assert_like_reference("TensorScatter", inputs[:2], opset=24, mode=mode, axis=axis)
    assert_trains("TensorScatter", inputs, opset=24, mode=mode, axis=axis)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("width", [0, 4])
@pytest.mark.parametrize("axes", [3, 4])
@pytest.mark.parametrize("by_position", [False, True])
def test_rotary_positions(interleaved: int, width: int, axes: int, by_position: bool) -> None:
    x = floats(2, 5, 24) if axes == 3 else floats(2, 3, 5, 8)
    half = (width or 8) // 2
    tables = [floats(9, half, seed=1), floats(9, half, seed=2)]
    positions = np.array([[0, 3, 8, 1, 2], [4, 4, 5, 6, 7]])
    inputs = [x, *tables, positions]
    if not by_position:
        inputs = [x, *(table[positions] for table in tables)]
    named = {"interleaved": interleaved, "rotary_embedding_dim": width}
    named |= {"num_heads": 3} if axes == 3 else {}
    assert_like_ort("RotaryEmbedding", inputs, opset=23, **named)
    assert_trains("RotaryEmbedding", inputs, opset=23, **named)


@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("is_given", [(True, True), (False, True), (True, False)])
def test_causal_convolution(activation: str, is_given: tuple[bool, bool]) -> None:
    optional = [floats(3, seed=3), floats(2, 3, 3, seed=4)]
    kept = [part if given else None for part, given in zip(optional, is_given, strict=True)]
    inputs = [floats(2, 3, 5), floats(3, 1, 4, seed=2), *kept]
    named = {"activation": activation, "outputs": 2, "opset": 27}
    assert_like_reference("CausalConvWithState", inputs, **named)
    assert_trains("CausalConvWithState", inputs, **named)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("has_past", [False, True])
def test_linear_attention(rule: str, has_past: bool) -> None:
    past = floats(2, 2, 3, 5, seed=4) if has_past else None
    decay = -np.abs(floats(2, 6, 2, seed=5)) if "gated" in rule else None
    rate = np.abs(floats(2, 6, 1, seed=6)) / 4 if "delta" in rule else None
    inputs = [floats(2, 6, 12), floats(2, 6, 6, seed=2) / 3, floats(2, 6, 10, seed=3)]
    named: dict[str, Any] = {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": rule}
    named |= {"opset": 27, "outputs": 2}
    assert_like_reference("LinearAttention", [*inputs, past, decay, rate], **named)
    assert_trains("LinearAttention", [*inputs, past, decay, rate], **named)


def test_unknown_rules_are_refused() -> None:
    model, _ = one_node(
        "CausalConvWithState", [floats(1, 1, 3), floats(1, 1, 2)], opset=27, activation="gelu"
    )
    with pytest.raises(UnsupportedOperatorsError, match="gelu"):
        import_model(model)
    operands = [floats(1, 2, 4)] * 3
    named: dict[str, Any] = {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "sum"}
    with pytest.raises(UnsupportedOperatorsError, match="sum"):
        import_model(one_node("LinearAttention", operands, opset=27, **named)[0])
