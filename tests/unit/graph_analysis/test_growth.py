"""A growing choice: any prefix of the order is what deciding one by one gives."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from graph_analysis.effects import is_connected, is_dead, survivors
from graph_analysis.growth import Candidate, Growth
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder
from graph_analysis.trace_graph import Edge


def _analysis(case: str) -> Analysis:
    return analyze(load_model(HARD_CASES[case]().SerializeToString()))


def _order(analysis: Analysis, seed: int) -> list[Candidate]:
    found = [(g.id, unit) for g in analysis.space.groups for unit in range(g.units)]
    return [found[n] for n in np.random.default_rng(seed).permutation(len(found)).tolist()]


def _growth(analysis: Analysis, order: Sequence[Candidate], known: Mapping[str, bool]) -> Growth:
    floor = {group.id: 1 for group in analysis.space.groups}
    return Growth(analysis, {}, order, floor=floor, known=known)


def _one_by_one(analysis: Analysis, order: Sequence[Candidate]) -> dict[str, set[int]]:
    removed: dict[str, set[int]] = {}
    structures, edges = analysis.structure_by_id, frozenset[Edge]()
    for key, unit in order:
        if key in structures:
            with_it = edges | structures[key].edges
            remaining = survivors(analysis.graph, with_it)
            dead = is_dead(analysis.graph, structures[key].edges, survivors(analysis.graph, edges))
            if dead or remaining.starved or not is_connected(analysis.graph, remaining):
                continue
            edges = with_it
        elif len(removed.get(key, ())) >= analysis.space.group_by_id[key].units - 1:
            continue
        removed.setdefault(key, set()).add(unit)
    return removed


@pytest.mark.parametrize("case", HARD_CASES)
def test_a_prefix_is_what_deciding_one_by_one_gives(case: str) -> None:
    analysis = _analysis(case)
    order = _order(analysis, seed=1)
    growth = _growth(analysis, order, {})
    for count in {0, len(order) // 3, len(order) // 2, len(order)}:
        assert growth.prefix(count, {}) == _one_by_one(analysis, order[:count])


@pytest.mark.parametrize("case", HARD_CASES)
def test_answers_of_a_common_beginning_may_be_reused(case: str) -> None:
    analysis = _analysis(case)
    order = _order(analysis, seed=2)
    middle = len(order) // 2
    known = _growth(analysis, order, {}).answers_before(middle)
    without = [*order[:middle], *order[middle + 1 :]]
    again, anew = _growth(analysis, without, known), _growth(analysis, without, {})
    assert again.prefix(len(without), {}) == anew.prefix(len(without), {})


@pytest.mark.parametrize("case", HARD_CASES)
def test_kept_units_are_rounded_up_by_giving_the_last_ones_back(case: str) -> None:
    analysis = _analysis(case)
    order = _order(analysis, seed=3)
    growth = _growth(analysis, order, {})
    step = {entry.group.id: 4 for entry in analysis.node_groups if entry.group.units % 4 == 0}
    plain, rounded = growth.prefix(len(order), {}), growth.prefix(len(order), step)
    for entry in analysis.node_groups:
        key = entry.group.id
        assert rounded.get(key, set()) <= plain.get(key, set())
        if key in step:
            assert (entry.group.units - len(rounded.get(key, ()))) % 4 == 0


def _structures(analysis: Analysis, *convolutions: str) -> list[Candidate]:
    by_node = {node: s.group.id for s in analysis.structures for node in s.group.nodes}
    return [(by_node[name], 0) for name in convolutions]


def test_what_is_dead_already_is_not_erased_again() -> None:
    graph = GraphBuilder("nested")
    trunk = graph.relu(graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 8))
    first = graph.relu(graph.conv(trunk, 8, 8))
    inner = graph.conv(first, 8, 8)
    outer = graph.conv(graph.node("Add", first, inner), 8, 8)
    graph.classify(graph.relu(graph.node("Add", trunk, outer)), 8)
    analysis = analyze(load_model(graph.build().SerializeToString()))
    outside, inside = _structures(analysis, outer, inner)
    assert set(_growth(analysis, [outside, inside], {}).prefix(2, {})) == {outside[0]}
    assert set(_growth(analysis, [inside, outside], {}).prefix(2, {})) == {outside[0], inside[0]}


def test_a_joint_keeps_an_input_even_beside_another_path() -> None:
    graph = GraphBuilder("starved")
    trunk = graph.relu(graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 8))
    left, right = graph.conv(trunk, 8, 8), graph.conv(trunk, 8, 8)
    branch = graph.relu(graph.node("Add", left, right))
    graph.classify(graph.relu(graph.node("Max", trunk, branch)), 8)
    analysis = analyze(load_model(graph.build().SerializeToString()))
    order = _structures(analysis, left, right)
    assert set(_growth(analysis, order, {}).prefix(2, {})) == {order[0][0]}
    assert set(_growth(analysis, order[::-1], {}).prefix(2, {})) == {order[1][0]}
