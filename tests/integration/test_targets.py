"""A slice of ``tests.sweep.targets``: random budgets of small models; and that it can fail."""

import pytest

from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.solution import Solution
from graph_analysis.solving import Selection
from graph_analysis.testing import HARD_CASES
from tests.sweep.targets import Pair, draw, outcomes, try_pair

NAMES = ["residual_add", "concat", "se_block", "flatten_fc", "lstm_residual", "residual_add_folded"]


def test_random_budgets_of_hard_cases() -> None:
    pairs = draw(NAMES, 20, seed=1)
    found = list(outcomes(pairs, dict(HARD_CASES), cuts=True))
    assert len(found) == 20
    for outcome in found:
        assert outcome.failures == (), outcome
    assert any(outcome.bound is not None for outcome in found)
    assert sum(o.reached >= o.asked - 0.01 for o in found) >= 12


def _analysis() -> Analysis:
    loaded = load_model(HARD_CASES["residual_add"]().SerializeToString())
    return analyze(loaded, options=AnalysisOptions(multiple=1))


PAIR = Pair(model="residual_add", quantity="macs", ratio=0.5, multiple=1)


def test_a_selection_that_takes_too_much_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Selection.advance
    monkeypatch.setattr(
        Selection, "advance", lambda self, values, ratio: plain(self, values, ratio / 2)
    )
    assert any("could come back" in what for what in try_pair(PAIR, _analysis()).failures)


def test_a_selection_that_takes_too_little_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    analysis = _analysis()
    nothing = Solution.of(analysis.space, {})
    monkeypatch.setattr(Selection, "solution", lambda self: nothing)
    assert any("exceeded" in what for what in try_pair(PAIR, analysis).failures)
