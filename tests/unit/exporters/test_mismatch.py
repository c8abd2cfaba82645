"""Naming the first tensor that differs."""

import numpy as np
import pytest
from onnx import numpy_helper

from exporters.errors import ProofFailedError
from exporters.masked import mask
from exporters.mismatch import first_difference
from exporters.proof import prove
from exporters.surgeon import shrink
from tests.unit.exporters.graphs import residual_concat

FEEDS = {"x": np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize(
    "weight, tensor", [("w0", "c0"), ("m0", "t0"), ("b2", "c2"), ("var4", "n4"), ("bf", "y")]
)
def test_the_tensor_behind_the_wrong_weight_is_named(weight: str, tensor: str) -> None:
    analysis = residual_concat()
    masked, cut = mask(analysis, analysis.solution), shrink(analysis, analysis.solution)
    keep = analysis.effects(analysis.solution).keep
    assert first_difference(masked, cut, FEEDS, keep) is None
    wrong = next(t for t in cut.graph.initializer if t.name == weight)
    values = numpy_helper.to_array(wrong) + np.float32(0.1)
    wrong.CopyFrom(numpy_helper.from_array(values, weight))

    assert first_difference(masked, cut, FEEDS, keep) == tensor
    with pytest.raises(ProofFailedError, match=f"first tensor that differs is '{tensor}'"):
        prove(masked, cut, original=analysis.loaded.model, keep=keep)


def test_a_model_that_does_not_run_gives_no_name() -> None:
    model = residual_concat().loaded.model
    assert first_difference(model, model, {}, {}) is None
