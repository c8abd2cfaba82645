"""The papers' networks at every removal: a valid network, or a refusal that names the bound."""

from functools import cache

import pytest

from benchmarks.zoo.catalogue import NETWORKS
from benchmarks.zoo.checking import (
    REMOVALS,
    Choice,
    choose_macs,
    choose_structures,
    largest_difference,
)
from benchmarks.zoo.exporting import exported, randomised
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution

RELATIVE = 1e-5
FEW = (0.1, 0.5, 0.9)  # of the supernets, whose choices take seconds; benchmarks.zoo.run has all


def removals_of(name: str) -> tuple[float, ...]:
    return FEW if name.startswith("darts") else REMOVALS


@cache
def analysis_of(name: str) -> Analysis:
    network = NETWORKS[name]
    model = exported(randomised(network.build(is_small=True)), network.small_image)
    return analyze(load_model(model.SerializeToString()))


def check(analysis: Analysis, solution: Solution, context: str) -> None:
    assert analysis.violations(solution) == (), context
    assert largest_difference(analysis, solution) <= RELATIVE, context


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_go_at_every_removal(name: str) -> None:
    analysis = analysis_of(name)
    whole = analysis.space.model.macs
    for seed, removal in enumerate(removals_of(name)):
        choice = choose_macs(analysis, removal, seed)
        context = f"{name} without {removal} of its MACs, seed {seed}"
        if choice.solution is None:
            assert_refused(choice, removal, context)
            continue
        assert analysis.macs(choice.solution) <= (1 - removal) * whole, context
        check(analysis, choice.solution, context)


@pytest.mark.parametrize("name", NETWORKS)
def test_structures_go_at_every_removal(name: str) -> None:
    analysis = analysis_of(name)
    if not any(group.kind is GroupKind.OPERATOR for group in analysis.space.groups):
        assert name == "vgg16_bn"  # a chain
        return
    for seed, removal in enumerate(removals_of(name)):
        choice = choose_structures(analysis, removal, seed)
        context = f"{name} without {removal} of its structures, seed {seed}"
        if choice.solution is None:
            assert_refused(choice, removal, context)
            continue
        check(analysis, choice.solution, context)
        gone = set(choice.solution.removed) | set(analysis.dead(choice.solution))
        structures = set(analysis.structure_by_id)
        assert len(gone & structures) >= removal * len(structures), context


def assert_refused(choice: Choice, removal: float, context: str) -> None:
    assert choice.reachable is not None, context
    assert 0 <= choice.reachable < removal, context
