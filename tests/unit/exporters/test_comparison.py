"""Comparing outputs: what is accepted, and what must not be."""

import ml_dtypes
import numpy as np
import pytest

from exporters.comparison import (
    EXACT,
    Tolerance,
    all_zero,
    compare,
    is_finite,
    top1,
    zero_outputs,
)


def f32(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def test_the_limit_follows_the_scale_of_the_reference() -> None:
    found = compare({"y": f32(100, 0)}, {"y": f32(100, 0.0005)}, EXACT)
    assert found.limit == pytest.approx(1e-3 + 1e-6)
    assert found.is_accepted
    assert not compare({"y": f32(1, 0)}, {"y": f32(1, 0.0005)}, EXACT).is_accepted


def test_a_tiny_reference_does_not_accept_anything() -> None:
    assert EXACT.limit(1e-7) < 1e-9
    assert EXACT.limit(0.0) == 0.0
    assert not compare({"y": f32(1e-7, 2e-7)}, {"y": f32(0, 0)}, EXACT).is_accepted


def test_one_element_among_many_is_enough() -> None:
    reference = np.ones(10_000, np.float32)
    candidate = reference.copy()
    candidate[17] += 1e-3
    found = compare({"y": reference}, {"y": candidate}, EXACT)
    assert not found.is_accepted
    assert found.max_difference == pytest.approx(1e-3, rel=1e-3)


def test_the_worst_output_is_named_by_its_limit_not_by_its_size() -> None:
    reference = {"big": f32(1000), "small": f32(0.001)}
    candidate = {"big": f32(1000.001), "small": f32(0.0011)}
    assert compare(reference, candidate, EXACT).output == "small"


@pytest.mark.parametrize(
    "candidate",
    [
        {"y": f32(1, np.nan)},
        {"y": f32(1, np.inf)},
        {"y": f32(1)},
        {"y": np.asarray([1, 2], np.float64)},
        {"z": f32(1, 2)},
        {},
    ],
)
def test_what_cannot_be_compared_is_infinitely_far(candidate: dict[str, np.ndarray]) -> None:
    found = compare({"y": f32(1, 2)}, candidate, EXACT)
    assert np.isinf(found.max_difference)
    assert not found.is_accepted


def test_equal_infinities_are_no_proof_either() -> None:
    assert not compare({"y": f32(np.inf)}, {"y": f32(np.inf)}, EXACT).is_accepted


def test_integers_are_counted_and_must_be_equal() -> None:
    found = compare({"i": np.arange(4)}, {"i": np.asarray([0, 1, 3, 2])}, EXACT)
    assert (found.max_difference, found.is_accepted) == (2.0, False)
    assert compare({"i": np.arange(4)}, {"i": np.arange(4)}, EXACT).is_accepted


def test_zero_references_are_found() -> None:
    outputs = {"a": f32(0, 0), "b": f32(0, 1), "i": np.zeros(2, np.int64)}
    assert zero_outputs(outputs) == {"a"}
    assert not all_zero(outputs)
    assert all_zero({"a": f32(0)})
    assert not all_zero({})


def test_bfloat16_is_a_float() -> None:
    values = np.asarray([0, 0], ml_dtypes.bfloat16)
    assert zero_outputs({"y": values}) == {"y"}
    assert is_finite({"y": values})
    assert not is_finite({"y": np.asarray([np.nan], ml_dtypes.bfloat16)})


def test_top1_counts_rows_and_forgives_ties_within_the_tolerance() -> None:
    reference = {"y": np.asarray([[1.0, 2.0], [3.0, 3.0], [5.0, 1.0]], np.float32)}
    candidate = {"y": np.asarray([[1.0, 2.0], [2.9, 3.0], [1.0, 5.0]], np.float32)}
    assert top1(reference, candidate, Tolerance(relative=1e-5)) == (2, 3)


def test_top1_looks_at_scores_only() -> None:
    image = {"y": np.ones((1, 3, 4, 4), np.float32), "one": np.ones((4, 1), np.float32)}
    assert top1(image, image, EXACT) == (0, 0)
