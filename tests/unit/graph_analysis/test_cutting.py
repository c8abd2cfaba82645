"""Cuts one after the other give the answers that all of them together give."""

from functools import cache

import numpy as np
import pytest

from graph_analysis.cutting import Cutting
from graph_analysis.effects import is_dead, survivors
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.testing import HARD_CASES, random_network
from graph_analysis.trace_graph import Edge

CASES = [*HARD_CASES, *(f"random {seed}" for seed in range(40))]


@cache
def analysed(case: str, protect: tuple[str, ...] = ()) -> Analysis:
    make = HARD_CASES.get(case) or (lambda: random_network(int(case.split()[1])))
    options = AnalysisOptions(protect=protect)
    return analyze(load_model(make().SerializeToString()), options=options)


def check(analysis: Analysis, seed: int) -> tuple[int, int]:
    """Every answer in a random order of the structures; how many were yes, and no."""
    cuts = [structure.edges for structure in analysis.structures]
    cutting = Cutting(analysis.graph, analysis.protected)
    edges, answers = frozenset[Edge](), [0, 0]
    for number in np.random.default_rng(seed).permutation(len(cuts)).tolist():
        wanted = cuts[number]
        together = survivors(analysis.graph, edges | wanted)
        is_alive = not is_dead(analysis.graph, wanted, survivors(analysis.graph, edges))
        expected = is_alive and not together.starved and analysis.is_intact(together)
        assert cutting.may(wanted) is expected
        assert cutting.may(wanted) is expected  # trying leaves nothing behind
        answers[expected] += 1
        if expected:
            cutting.cut(wanted)
            edges |= wanted
    return answers[1], answers[0]


@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_all_cuts_together(case: str) -> None:
    for seed in range(5):
        check(analysed(case), seed)


@pytest.mark.parametrize("case", CASES)
def test_also_after_cuts_that_are_not_valid(case: str) -> None:
    analysis = analysed(case)
    cuts = [structure.edges for structure in analysis.structures]
    cutting = Cutting(analysis.graph, analysis.protected)
    edges = frozenset[Edge]()
    for number in np.random.default_rng(7).permutation(len(cuts)).tolist()[: len(cuts) // 2]:
        cutting.cut(cuts[number])
        edges |= cuts[number]
    for wanted in cuts:
        together = survivors(analysis.graph, edges | wanted)
        is_alive = not is_dead(analysis.graph, wanted, survivors(analysis.graph, edges))
        expected = is_alive and not together.starved and analysis.is_intact(together)
        assert cutting.may(wanted) is expected


def test_both_answers_occur() -> None:
    found = np.sum([check(analysed(case), seed=0) for case in CASES], axis=0)
    assert (found > 50).all()


def test_what_is_protected_neither_dies_nor_is_spliced_out() -> None:
    free = analysed("unet_two_levels")
    joint = next(v.name for v in free.graph.vertices if v.op_type in ("Add", "Concat"))
    analysis = analysed("unet_two_levels", (joint,))
    assert analysis.protected
    check(analysis, seed=3)
