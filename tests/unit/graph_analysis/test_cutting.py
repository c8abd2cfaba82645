"""Cuts one after the other give the answers that all of them together give."""

from functools import cache

import numpy as np
import pytest

from graph_analysis.branches import DROPPING
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


def check(analysis: Analysis, cuts: list[frozenset[Edge]], seed: int) -> tuple[int, int]:
    """Every answer in a random order of ``cuts``; how many were yes, and no."""
    cutting = Cutting(analysis.graph, analysis.protected)
    edges, answers = frozenset[Edge](), [0, 0]
    for number in np.random.default_rng(seed).permutation(len(cuts)).tolist():
        wanted = cuts[number]
        expected = is_valid(analysis, edges, wanted)
        assert cutting.may(wanted) is expected
        assert cutting.may(wanted) is expected  # trying leaves nothing behind
        answers[expected] += 1
        if expected:
            cutting.cut(wanted)
            edges |= wanted
    return answers[1], answers[0]


def is_valid(analysis: Analysis, edges: frozenset[Edge], wanted: frozenset[Edge]) -> bool:
    """The same from the beginning."""
    graph = analysis.graph
    if is_dead(graph, wanted, survivors(graph, edges)):
        return False
    together = survivors(graph, edges | wanted)
    return not together.starved and analysis.is_intact(together)


def structures(analysis: Analysis) -> list[frozenset[Edge]]:
    return [structure.edges for structure in analysis.structures]


def single_edges(analysis: Analysis) -> list[frozenset[Edge]]:
    """Every input of every joint, constants too, whether a structure ends there or not."""
    return [
        frozenset([(vertex.index, name)])
        for vertex in analysis.graph.vertices
        if vertex.op_type in DROPPING and vertex.index in analysis.graph.reached
        for name in vertex.inputs
        if name and vertex.inputs.count(name) == 1
    ]


@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_all_cuts_together(case: str) -> None:
    analysis = analysed(case)
    for seed in range(5):
        check(analysis, structures(analysis), seed)
        check(analysis, single_edges(analysis), seed)


@pytest.mark.parametrize("case", CASES)
def test_also_after_cuts_that_are_not_valid(case: str) -> None:
    analysis = analysed(case)
    cuts = single_edges(analysis)
    cutting = Cutting(analysis.graph, analysis.protected)
    edges = frozenset[Edge]()
    for number in np.random.default_rng(7).permutation(len(cuts)).tolist()[: len(cuts) // 2]:
        cutting.cut(cuts[number])
        edges |= cuts[number]
    for wanted in cuts:
        assert cutting.may(wanted) is is_valid(analysis, edges, wanted)


def test_both_answers_occur() -> None:
    found = np.sum([check(a, structures(a), seed=0) for a in map(analysed, CASES)], axis=0)
    assert (found > 50).all()


def test_what_is_protected_neither_dies_nor_is_spliced_out() -> None:
    free = analysed("unet_two_levels")
    joint = next(v.name for v in free.graph.vertices if v.op_type in ("Add", "Concat"))
    analysis = analysed("unet_two_levels", (joint,))
    assert analysis.protected
    for seed in range(5):
        check(analysis, single_edges(analysis), seed)
