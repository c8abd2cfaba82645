"""Runs of the same steps: found, disjoint, in order, begun where asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_analysis.repeats import Run, runs_of


def spans(runs: list[Run]) -> list[tuple[int, int, int]]:
    return [(run.start, run.period, run.times) for run in runs]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("", []),
        ("a", []),
        ("abc", []),
        ("sabcabcabch", [(1, 3, 3)]),
        ("aaaa", [(0, 1, 4)]),
        ("xababyababab", [(1, 2, 2), (6, 2, 3)]),
        ("abcdabcd", [(0, 4, 2)]),
    ],
)
def test_runs_by_hand(steps: str, expected: list[tuple[int, int, int]]) -> None:
    assert spans(runs_of(steps)) == expected


@given(st.text(alphabet="abc", max_size=40))
def test_runs_are_disjoint_repetitions(steps: str) -> None:
    end = 0
    for run in runs_of(steps):
        assert run.start >= end
        assert run.times > 1
        block = steps[run.start : run.start + run.period]
        assert steps[run.start : run.stop] == block * run.times
        end = run.stop
    assert end <= len(steps)


def test_what_does_not_fit_is_not_a_run() -> None:
    assert runs_of("abababab", lambda run: None) == []

    def first_two(run: Run) -> Run:
        return Run(start=run.start, period=run.period, times=2)

    assert spans(runs_of("abababab", first_two)) == [(0, 4, 2)]


def test_a_run_begins_at_the_best_seam() -> None:
    steps = "abcabcabca"  # three times abc, or bca one step later
    assert spans(runs_of(steps, seams=[0, 9, 9] * 3 + [9])) == [(0, 3, 3)]
    assert spans(runs_of(steps, seams=[9, 0, 9] * 3 + [9])) == [(1, 3, 3)]
