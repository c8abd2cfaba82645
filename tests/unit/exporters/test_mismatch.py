"""Naming the first tensor that differs."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters.comparison import EXACT
from exporters.errors import ProofFailedError
from exporters.masked import mask
from exporters.mismatch import Keep, first_difference, inner_differences
from exporters.proof import prove
from exporters.surgeon import shrink
from tests.unit.exporters.graphs import build, node, residual_concat

FEEDS = {"x": np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)}


Models = tuple[onnx.ModelProto, onnx.ModelProto, onnx.ModelProto, Keep]


@pytest.fixture
def models() -> Models:
    """Masked, cut, original, and the positions that stay."""
    analysis = residual_concat()
    masked, cut = mask(analysis, analysis.solution), shrink(analysis, analysis.solution)
    return masked, cut, analysis.loaded.model, analysis.effects(analysis.solution).keep


def edit(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


@pytest.mark.parametrize(
    "weight, tensor", [("w0", "c0"), ("m0", "t0"), ("b2", "c2"), ("var4", "n4"), ("bf", "y")]
)
def test_the_tensor_behind_the_wrong_weight_is_named(
    models: Models, weight: str, tensor: str
) -> None:
    masked, cut, original, keep = models
    assert first_difference(masked, cut, FEEDS, keep, EXACT) is None
    edit(cut, weight, lambda values: values + np.float32(0.1))

    assert first_difference(masked, cut, FEEDS, keep, EXACT) == tensor
    with pytest.raises(ProofFailedError, match=f"first tensor that differs is '{tensor}'"):
        prove(masked, cut, original=original, keep=keep)


def test_a_model_that_does_not_run_gives_no_name(models: Models) -> None:
    masked, cut, _, keep = models
    assert first_difference(masked, cut, {}, keep, EXACT) is None


def test_a_wrong_branch_behind_a_tiny_scale_is_found_only_inside(models: Models) -> None:
    """The outputs agree to the last bit that matters; the branch is wrong all the same."""
    masked, cut, original, keep = models
    for model in models[:3]:
        edit(model, "w2", lambda values: values * np.float32(1e-9))
        edit(model, "b2", np.zeros_like)
    edit(cut, "w1", lambda values: values[::-1])

    assert prove(masked, cut, original=original).passed
    with pytest.raises(ProofFailedError, match="G3 inside: 'c1' differs"):
        prove(masked, cut, original=original, keep=keep)


def test_numbers_computed_from_shapes_are_not_compared() -> None:
    nodes = [node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node("Exp", "x", "y")]
    one = build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, {})
    found = list(inner_differences(one, one, {"x": np.ones((1, 4), np.float32)}, {}, EXACT))
    assert [difference.output for difference in found] == ["y"]


@pytest.mark.parametrize("divisor, accepted", [([0.0, 1, 1, 1], True), ([1.0, 0, 1, 1], False)])
def test_infinities_must_stand_in_the_same_places(divisor: list[float], accepted: bool) -> None:
    def model(values: list[float]) -> onnx.ModelProto:
        nodes = [node("Div", "x d", "a"), node("Sigmoid", "a", "y")]
        weights = {"d": np.asarray(values, np.float32)}
        return build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, weights)

    feeds = {"x": np.ones((1, 4), np.float32)}
    found = list(inner_differences(model([0.0, 1, 1, 1]), model(divisor), feeds, {}, EXACT))
    assert found[0].is_accepted is accepted


def test_another_shape_is_infinitely_far() -> None:
    one = build({"x": ["n", 4]}, {"y": ["n", 4]}, [node("Exp", "x", "y")], {})
    feeds = {"x": np.ones((1, 4), np.float32)}
    found = list(inner_differences(one, one, feeds, {"y": {1: np.asarray([0])}}, EXACT))
    assert not found[0].is_accepted
