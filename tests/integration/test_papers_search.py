"""The paper's Figure 2 with nothing made up: its network as ONNX, its structures, its search.

DemoSupNet (PAPER.md 3.2) at small widths; K = 3; a structure that is more redundant than another
is passed over, because without it the network would fall apart.
"""

import numpy as np
import onnx
import torch
from torch import Tensor

from graph_analysis import analyze, load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.testing.builder import BATCH, GraphBuilder
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.h2spg import H2SPG, PenaltySettings, Schedule, choose_count
from optimizer.h2spg.search import partition

WINDOW = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
WIDTH = 8
CONV2, CONV3, CONV45, CONV7, CONV8 = range(5)


def demo_sup_net() -> onnx.ModelProto:
    graph = GraphBuilder("demo_sup_net", seed=1)
    conv1 = graph.relu(graph.conv_norm(graph.input((BATCH, 3, 8, 8)), 3, WIDTH))
    conv2 = graph.conv_norm(conv1, WIDTH, WIDTH)
    conv3 = graph.conv_norm(graph.node("MaxPool", conv1, **WINDOW), WIDTH, WIDTH)
    conv4 = graph.conv_norm(graph.node("AveragePool", conv1, **WINDOW), WIDTH, WIDTH)
    conv5 = graph.conv_norm(conv4, WIDTH, WIDTH)
    joined = graph.node("Concat", conv2, conv3, conv5, axis=1)
    conv6 = graph.relu(graph.conv_norm(joined, 3 * WIDTH, WIDTH))
    conv7, conv8 = graph.conv_norm(conv6, WIDTH, WIDTH), graph.conv_norm(conv6, WIDTH, WIDTH)
    graph.classify(graph.node("Add", conv7, conv8), WIDTH)
    return graph.build()


def analysis() -> Analysis:
    operators = AnalysisOptions(kinds=frozenset({GroupKind.OPERATOR}))
    return analyze(load_model(demo_sup_net().SerializeToString()), options=operators)


def solution_of(found: Analysis, gone: frozenset[int]) -> Solution:
    ids = [group.id for group in found.space.groups]
    return Solution.of(found.space, {ids[unit]: [0] for unit in gone})


def test_the_search_space_holds_the_five_structures_of_the_figure() -> None:
    groups = analysis().space.groups
    convs = [[name for name in group.nodes if name.startswith("conv_")] for group in groups]
    assert [len(names) for names in convs] == [1, 1, 2, 1, 1]
    assert "maxpool" in groups[CONV3].nodes[0]
    assert "averagepool" in groups[CONV45].nodes[0]


def test_the_figure_with_the_validity_of_the_graph() -> None:
    found = analysis()

    def is_valid(gone: frozenset[int]) -> bool:
        return not found.violations(solution_of(found, gone))

    saliency = [0.0] * 5
    for rank, structure in enumerate([CONV8, CONV3, CONV7, CONV2, CONV45]):
        saliency[structure] = rank / 10
    result = partition(saliency, 3, is_valid)
    assert result.redundant == (CONV8, CONV3, CONV2)
    assert result.important == (CONV7, CONV45)
    assert len(partition(saliency, 5, is_valid).redundant) == 3  # what can be reached
    chosen = choose_count(3, is_valid)(
        torch.tensor(saliency, dtype=torch.float64), torch.zeros(5, dtype=torch.bool), 1.0
    )
    assert chosen.nonzero().flatten().tolist() == [CONV2, CONV3, CONV8]
    remaining = found.survivors(solution_of(found, frozenset(result.redundant)))
    gone = {found.graph.vertices[index].op_type for index in remaining.removed}
    assert gone >= {"Conv", "BatchNormalization", "MaxPool"}
    assert "AveragePool" not in gone


def test_the_paper_from_warm_up_to_zero_on_its_own_network() -> None:
    """Score, running average, hierarchy check, lambda_g and half-space step in one run."""
    found = analysis()
    imported = import_model(found.maskable())
    binding = bind(found, imported)
    scores: list[Tensor] = []

    def is_valid(gone: frozenset[int]) -> bool:
        return not found.violations(solution_of(found, gone))

    def choose(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        scores.append(saliency.clone())
        return choose_count(3, is_valid)(saliency, removed, fraction)

    strong = PenaltySettings(penalty=8.0, amplify=2.0, limit=10.0, epsilon=0.95)
    optimizer = H2SPG(
        imported.module.parameters(),
        binding.layout(),
        schedule=Schedule((5, 40), 40),
        choose=choose,
        lr=0.02,
        mode="paper",
        saliency="paper",
        averaging=0.9,
        penalty=strong,
        projection_start=8,
    )
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(16, 3, 8, 8)).astype(np.float32))
    for _ in range(40):
        optimizer.zero_grad()
        output = imported.module(x)
        (output[0] if isinstance(output, tuple) else output).square().mean().backward()
        optimizer.step()
    assert len(scores) == 1
    assert (scores[0] < 0).any()  # minus a redundancy: high is redundant in the paper
    assert int(optimizer.redundant.sum()) == 3
    assert optimizer.zero.tolist() == optimizer.redundant.tolist()
    assert is_valid(frozenset(optimizer.zero.nonzero().flatten().tolist()))
