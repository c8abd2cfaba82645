"""Naming the first tensor that differs."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters.comparison import EXACT
from exporters.errors import ProofFailedError
from exporters.masked import mask
from exporters.mismatch import Keep, first_mismatch, first_not_finite, inner_differences
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
    assert first_mismatch(masked, cut, FEEDS, keep) is None
    edit(cut, weight, lambda values: values + np.float32(0.1))

    found = first_mismatch(masked, cut, FEEDS, keep)
    assert found is not None
    assert found.tensor == tensor
    assert found.differing > 0
    assert found.scale is not None
    assert found.max_difference is not None
    assert found.max_difference > 1e-4 * found.scale
    assert "instead of" in found.problem
    with pytest.raises(ProofFailedError, match=f"first tensor that differs: '{tensor}'") as caught:
        prove(masked, cut, original=original, keep=keep)
    assert caught.value.proof.mismatch is not None
    assert caught.value.proof.mismatch.tensor == tensor
    assert caught.value.proof.to_dict()["mismatch"]["tensor"] == tensor


def test_inputs_that_no_model_takes_give_no_name(models: Models) -> None:
    masked, cut, _, keep = models
    found = first_mismatch(masked, cut, {}, keep)
    assert found is None or found.problem == "cannot be computed"


def test_where_the_cut_model_stops_is_named(models: Models) -> None:
    masked, cut, original, keep = models
    edit(cut, "m4", lambda values: values[:-1])
    found = first_mismatch(masked, cut, FEEDS, keep, runs=False)
    assert found is not None
    assert (found.tensor, found.problem) == ("n4", "cannot be computed")
    with pytest.raises(ProofFailedError, match=r"does not run.*first tensor that differs: 'n4'"):
        prove(masked, cut, original=original, keep=keep)


def test_an_earlier_difference_wins_over_where_it_stops(models: Models) -> None:
    masked, cut, _, keep = models
    edit(cut, "m4", lambda values: values[:-1])
    edit(cut, "w0", lambda values: values[::-1])
    found = first_mismatch(masked, cut, FEEDS, keep, runs=False)
    assert found is not None
    assert found.tensor == "c0"


@pytest.mark.parametrize("value, problem", [(np.nan, "a not-a-number"), (np.inf, "an infinity")])
def test_the_first_tensor_that_is_not_finite_is_named(
    models: Models, value: float, problem: str
) -> None:
    masked, cut, original, keep = models
    assert first_not_finite(cut, FEEDS) is None
    edit(cut, "b2", lambda values: np.full_like(values, value))
    found = first_not_finite(cut, FEEDS)
    assert found is not None
    assert found.tensor == "c2"
    assert problem in found.problem
    with pytest.raises(ProofFailedError, match="of the cut model is not finite on random input"):
        prove(masked, cut, original=original, keep=keep)


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
