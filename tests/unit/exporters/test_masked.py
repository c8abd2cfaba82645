"""The masked model."""

import numpy as np
import pytest

from exporters.errors import SurgeryError
from exporters.masked import mask
from graph_analysis.errors import SolutionError
from graph_analysis.solution import Solution
from tests.unit.exporters import graphs
from tests.unit.exporters.proving import values


def test_zero_slices_are_zeroed_and_the_rest_is_untouched() -> None:
    analysis = graphs.residual_concat()
    before = values(analysis.loaded.model)

    after = values(mask(analysis, analysis.solution))

    assert np.flatnonzero(after["g0"] == 0).tolist() == [1, 4, 5, 6]
    assert np.flatnonzero(np.all(after["wf"] == 0, axis=0)).tolist() == [1, 4, 5, 6, 8, 9]
    np.testing.assert_array_equal(after["g0"][[0, 2, 3, 7]], before["g0"][[0, 2, 3, 7]])
    np.testing.assert_array_equal(after["w0"], before["w0"])
    assert values(analysis.loaded.model)["g0"].all()


def test_nothing_removed_is_the_working_copy() -> None:
    analysis = graphs.residual_concat()
    assert mask(analysis, analysis.nothing) == analysis.loaded.model


def test_trained_values_are_masked_too() -> None:
    analysis = graphs.residual_concat()
    result = values(mask(analysis, analysis.solution, {"b0": np.arange(8, dtype=np.float32)}))
    assert result["b0"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    result = values(mask(analysis, analysis.solution, {"s0": np.ones(8, np.float32)}))
    assert result["s0"].tolist() == [1, 0, 1, 1, 0, 0, 0, 1]


def test_a_foreign_solution_is_refused() -> None:
    with pytest.raises(SolutionError):
        mask(graphs.residual_concat(), Solution(space="0" * 64, removed={}))


def test_a_slice_of_nothing_is_refused() -> None:
    whole = graphs.residual_concat()
    broken = graphs.analysis(whole.loaded.model, zero={"nope": {0: [0]}})
    with pytest.raises(SurgeryError, match="zeroes 'nope', which is no initializer"):
        mask(broken, broken.solution)
