"""A slice of ``tests.sweep``: two solutions of each hard case; and that it can fail."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters.surgeon import shrink
from graph_analysis.testing import HARD_CASES
from tests.sweep.random_solutions import (
    KINDS,
    SHARES,
    analysis_of,
    differences,
    failures_of,
    plan,
    random_solution,
)


@pytest.mark.parametrize("name", HARD_CASES)
def test_random_solutions_of_a_hard_case(name: str) -> None:
    analysis = analysis_of(HARD_CASES[name]())
    number = list(HARD_CASES).index(name)
    for seed, share in ((number, SHARES[number % 5]), (number + 1, SHARES[(number + 2) % 5])):
        solution = random_solution(analysis, KINDS["mixed"], share, seed)
        found = list(failures_of(analysis, solution, seed))
        assert found == [], f"{name} mixed:{share}:{seed}"


def test_shares_are_reached() -> None:
    analysis = analysis_of(HARD_CASES["flatten_fc"]())
    kept = [
        analysis.parameters(random_solution(analysis, KINDS["channel"], share, 0))
        for share in SHARES
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 0.7 * analysis.space.model.parameters
    assert kept[-1] < 0.1 * analysis.space.model.parameters


def test_the_plan_has_every_kind_and_share() -> None:
    assert len(plan(20)) == 20 * len(KINDS)
    assert {share for _, share, _ in plan(20)} == set(SHARES)


def test_a_wrong_weight_is_seen() -> None:
    analysis = analysis_of(HARD_CASES["flatten_fc"]())
    solution = random_solution(analysis, KINDS["channel"], 0.5, 0)
    cut = shrink(analysis, solution)
    assert list(differences(analysis, cut, cut, 0)) == []
    wrong = onnx.ModelProto()
    wrong.CopyFrom(cut)
    tensor = next(t for t in wrong.graph.initializer if len(t.dims) == 4)
    array = numpy_helper.to_array(tensor) * np.float32(1.001)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert list(differences(analysis, cut, wrong, 0))
