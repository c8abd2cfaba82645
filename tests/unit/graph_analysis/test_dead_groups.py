"""What is gone with something else is not counted: the published outcome of StackedUnets.

The paper's figure names four removed structures; the last of the right U-net takes two others
along, so they cost nothing more and save nothing more (PAPER.md 5, item 4).
"""

from functools import cache
from itertools import permutations

import numpy as np
import pytest

from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.solving import Saliency, Selection
from graph_analysis.testing import BATCH, GraphBuilder

WIDTH = 8


@cache
def stacked_unets(kinds: frozenset[GroupKind]) -> tuple[Analysis, dict[str, str]]:
    """Two U-nets on 32x32 images joined by an Add, and the ids of the paper's structures."""
    graph = GraphBuilder("stacked_unets")
    image = graph.input((BATCH, 3, 32, 32))
    firsts: dict[str, str] = {}

    def conv(x: str, *, inputs: int = WIDTH, stride: int = 1) -> str:
        return graph.conv(x, inputs, WIDTH, stride=stride)

    def up(x: str) -> str:
        scales = graph.constant(np.array([1, 1, 2, 2], np.float32), name="scales")
        return graph.node("Resize", x, "", scales, mode="nearest")

    def named(name: str, x: str) -> str:
        firsts[name] = x
        return x

    def norm(x: str) -> str:
        return graph.batch_norm(x, WIDTH)

    def pool(x: str) -> str:
        return graph.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    three = conv(graph.relu(norm(conv(image, inputs=3))))
    nine = norm(graph.relu(conv(graph.relu(conv(pool(three))))))
    twelve = conv(conv(pool(nine)))
    nineteen = up(conv(named("13-19", conv(pool(twelve)))))
    inner = graph.node("Add", up(graph.node("Add", nineteen, twelve)), nine)
    left = graph.node("Add", up(graph.relu(norm(conv(named("26-33", conv(inner)))))), three)
    left = norm(graph.relu(named("35-38", conv(graph.relu(left)))))

    forty_one = graph.relu(norm(conv(image, inputs=3)))
    forty_four = graph.relu(conv(conv(forty_one, stride=2)))
    forty_nine = conv(conv(norm(graph.relu(conv(forty_four, stride=2)))))
    fifty_six = up(conv(conv(named("50-56", conv(forty_nine, stride=2)))))
    inner = graph.node("Add", up(graph.node("Add", fifty_six, forty_nine)), forty_four)
    inner = up(graph.relu(norm(conv(named("63-70", conv(inner))))))
    right = graph.node("Add", inner, forty_one)
    right = norm(graph.relu(named("72-75", conv(graph.relu(right)))))
    graph.classify(graph.node("Add", left, right), WIDTH)

    options = AnalysisOptions(kinds=kinds)
    analysis = analyze(load_model(graph.build().SerializeToString()), options=options)
    smallest: dict[str, str] = {}
    for name, node in firsts.items():
        own = [s for s in analysis.structures if node in s.group.nodes]
        smallest[name] = min(own, key=lambda s: len(s.vertices)).group.id
    return analysis, smallest


OPERATORS = frozenset({GroupKind.OPERATOR})
PUBLISHED = ("13-19", "50-56", "63-70", "72-75")
DECIDED = ("13-19", "72-75")


def in_order(analysis: Analysis, keys: list[str]) -> Saliency:
    """The named structures first; all others are not offered."""
    return {key: np.full(1, float(place)) for place, key in enumerate(keys)}


def test_the_published_outcome_costs_what_two_structures_do() -> None:
    analysis, key_of = stacked_unets(OPERATORS)
    assert len(set(key_of.values())) == 6
    published = Solution.of(analysis.space, {key_of[name]: (0,) for name in PUBLISHED})
    decided = Solution.of(analysis.space, {key_of[name]: (0,) for name in DECIDED})
    assert analysis.macs(published) == analysis.macs(decided)
    assert analysis.bytes(published) == analysis.bytes(decided)
    assert {key_of["50-56"], key_of["63-70"]} <= analysis.dead(decided)
    assert any("already dead" in reason for reason in analysis.violations(published))
    assert not analysis.violations(decided)


@pytest.mark.parametrize("order", list(permutations(PUBLISHED)))
def test_whatever_the_order_the_outcome_names_two(order: tuple[str, ...]) -> None:
    analysis, key_of = stacked_unets(OPERATORS)
    selection = Selection(analysis)
    selection.exhaust(in_order(analysis, [key_of[name] for name in order]))
    solution = selection.solution()
    assert set(solution.removed) == {key_of[name] for name in DECIDED}
    assert not analysis.violations(solution)
    whole = analysis.macs(Solution.of(analysis.space, {}))
    assert selection.remaining_ratio == analysis.macs(solution) / whole


def test_what_is_dead_is_not_offered_again() -> None:
    """Once 72-75 is gone, a budget cannot be spent on what died with it."""
    analysis, key_of = stacked_unets(OPERATORS)
    selection = Selection(analysis, removed={key_of["72-75"]: [0]})
    before = selection.remaining_ratio
    order = [key_of[name] for name in ("50-56", "63-70", "13-19")]
    selection.exhaust(in_order(analysis, order))
    assert set(selection.solution().removed) == {key_of["72-75"], key_of["13-19"]}
    assert selection.remaining_ratio < before


@pytest.mark.parametrize("ratio", [0.4, 0.55])
def test_channels_of_a_dead_branch_count_for_nothing(ratio: float) -> None:
    """Units that were chosen before their branch died are in no solution, and no budget."""
    analysis, key_of = stacked_unets(frozenset(GroupKind))
    inside = analysis.dead(Solution.of(analysis.space, {key_of["72-75"]: (0,)}))
    saliency = {
        group.id: np.full(group.units, 0.0 if group.id in inside else 1.0)
        for group in analysis.space.groups
    }
    saliency[key_of["72-75"]] = np.full(1, 0.5)
    selection = Selection(analysis)
    selection.advance(saliency, ratio)
    solution = selection.solution()
    assert key_of["72-75"] in solution.removed
    assert not inside & set(solution.removed)
    whole = analysis.macs(Solution.of(analysis.space, {}))
    assert ratio - 0.01 <= analysis.macs(solution) / whole <= ratio
