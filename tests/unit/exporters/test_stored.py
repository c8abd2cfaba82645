"""Weights of a cut file beside those of its reference."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters.errors import ProofFailedError
from exporters.proof import prove
from exporters.stored import wrong_weights
from tests.unit.exporters.graphs import build, node

KEEP = {"b": {0: np.asarray([0, 2])}}


def model(bias: list[float]) -> onnx.ModelProto:
    weights = {"b": np.asarray(bias, np.float32)}
    return build(
        {"x": ["n", len(bias)]}, {"y": ["n", len(bias)]}, [node("Add", "x b", "y")], weights
    )


def test_the_positions_that_stay_are_compared_bit_for_bit() -> None:
    whole = model([1, 2, 3])
    assert list(wrong_weights(whole, model([1, 3]), KEEP)) == []
    almost = float(np.nextafter(np.float32(3), np.float32(4)))
    [(name, problem)] = wrong_weights(whole, model([1, almost]), KEEP)
    assert name == "b"
    assert problem.startswith(
        "holds other values than the reference in 1 of 2 places, first at [1]"
    )


def test_shapes_and_types_are_compared() -> None:
    whole, wide = model([1, 2, 3]), model([1, 3])
    assert list(wrong_weights(whole, whole, KEEP)) == [("b", "has shape [3] instead of [2]")]
    wide.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.asarray([1.0, 3.0]), "b"))
    assert list(wrong_weights(whole, wide, KEEP)) == [("b", "is of another type")]


def test_numbers_that_are_none_are_equal_to_themselves_and_so_is_zero_to_minus_zero() -> None:
    assert not list(wrong_weights(model([np.nan, 0]), model([np.nan, -0.0]), {}))


def test_weights_that_only_one_model_has_are_left_out() -> None:
    other = model([1, 2])
    other.graph.initializer[0].name = "other"
    assert list(wrong_weights(model([1, 3]), other, {})) == []


def test_a_bias_beside_which_activations_are_huge_is_refused() -> None:
    """The outputs agree to within their scale; the values do not."""

    def scaled(bias: float) -> onnx.ModelProto:
        one = build(
            {"x": ["n", 4]}, {"y": ["n", 4]},
            [node("Mul", "x m", "h"), node("Add", "h b", "y")],
            {"m": np.full(4, 1e6, np.float32), "b": np.full(4, bias, np.float32)},
        )  # fmt: skip
        assert numpy_helper.to_array(one.graph.initializer[1])[0] == np.float32(bias)
        return one

    right, wrong = scaled(0.1), scaled(0.2)
    assert prove(right, wrong, original=right).passed
    with pytest.raises(ProofFailedError, match="G3 weights: initializer 'b' holds") as caught:
        prove(right, wrong, original=right, keep={})
    assert caught.value.proof.mismatch is not None
    assert caught.value.proof.mismatch.tensor == "b"
