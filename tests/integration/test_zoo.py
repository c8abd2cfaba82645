"""The papers' networks: every count of PAPER.md 3, and the structures in what is found unaided."""

from collections import Counter
from functools import cache

import pytest

from benchmarks.zoo.catalogue import NETWORKS
from benchmarks.zoo.darts import DartsSupernet
from benchmarks.zoo.exporting import exported, randomised
from benchmarks.zoo.paper_rule import Found, num_edges, num_vertices, paper_structures
from benchmarks.zoo.super_resnet import PLAN, SuperResNet
from exporters.surgeon import shrink
from graph_analysis.effects import is_connected, survivors
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from optimizer.h2spg.search import partition

PARAMETERS = {
    "stacked_unets": 780_746,
    "demo_net": 627_338,
    "demo_net_2": 2_464_010,
    "carn": 964_187,
    "resnet18": 11_173_962,
    "resnet50": 23_520_842,
    "vgg16_bn": 15_253_578,
    "densenet121": 7_048_548,
}
MILLION_MACS = {"stacked_unets": 207.0, "resnet18": 555, "resnet50": 1298, "vgg16_bn": 314}
CROSSED = "the positions it would leave in a Concat are crossed with others"


@cache
def analysis_of(name: str) -> Analysis:
    network = NETWORKS[name]
    return analyzed(network.build(), network.image)


def analyzed(module, image: tuple[int, int, int]) -> Analysis:
    return analyze(load_model(exported(randomised(module), image).SerializeToString()))


def by_first(found: list[Found]) -> dict[str, Found]:
    """By the name of the first convolution of the segment."""
    return {next(n for n in one.vertices if n.endswith("/Conv")): one for one in found}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_paper(name: str) -> None:
    module = NETWORKS[name].build()
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[name]
    assert analysis_of(name).space.model.parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", MILLION_MACS)
def test_macs_are_those_of_the_paper(name: str) -> None:
    macs = analysis_of(name).space.model.macs / 1e6
    assert macs == pytest.approx(MILLION_MACS[name], abs=0.05 if name == "stacked_unets" else 0.6)


def test_stacked_unets_has_the_vertices_segments_and_edges_of_the_drawing() -> None:
    analysis = analysis_of("stacked_unets")
    assert num_vertices(analysis) == 63
    assert len(analysis.segments.segments) == 22
    assert num_edges(analysis.segments.segments) == 27


# vertices as the paper numbers them, parameters of the segment, million MACs
STRUCTURES = {
    "/left/conv14/Conv": ("MaxPool Conv Conv Resize", 73_856, 1.2),
    "/left/conv26/Conv": ("Conv Conv BatchNormalization Relu Resize", 73_984, 18.9),
    "/left/conv36/Conv": ("Relu Conv Relu BatchNormalization", 37_056, 37.7),
    "/right/conv50/Conv": ("Conv Conv Conv Resize", 110_784, 1.8),
    "/right/conv63/Conv": ("Conv Conv BatchNormalization Relu Resize", 73_984, 18.9),
    "/right/conv73/Conv": ("Relu Conv Relu BatchNormalization", 37_056, 37.7),
}


def test_stacked_unets_has_the_six_structures_of_the_drawing() -> None:
    analysis = analysis_of("stacked_unets")
    found = by_first(paper_structures(analysis))
    assert set(found) == set(STRUCTURES)
    for first, (operators, parameters, macs) in STRUCTURES.items():
        members = [m for piece in found[first].segment.pieces for m in piece.members]
        assert " ".join(member.op_type for member in members) == operators
        weights = {n for m in members for n in m.inputs if n in analysis.costs.parameters}
        sizes = [analysis.prices.whole_elements[name] for name in weights]
        assert sum(sizes) == parameters, first
        own = sum(analysis.prices.whole_macs.get(member.index, 0) for member in members)
        assert own / 1e6 == pytest.approx(macs, abs=0.05), first


def test_each_of_the_six_is_one_of_ours_with_what_dies_with_it() -> None:
    analysis = analysis_of("stacked_unets")
    for one in paper_structures(analysis):
        assert one.structure is not None
        assert set(one.vertices) <= set(one.structure.group.nodes)


def six(analysis: Analysis) -> dict[str, str]:
    """First convolution of the paper's structure -> id of our group."""
    found = by_first(paper_structures(analysis))
    return {first: one.structure.group.id for first, one in found.items() if one.structure}


def test_the_published_outcome_has_the_published_size() -> None:
    analysis = analysis_of("stacked_unets")
    ours = six(analysis)
    erased = [ours["/left/conv14/Conv"], ours["/right/conv73/Conv"]]
    solution = Solution.of(analysis.space, dict.fromkeys(erased, (0,)))
    assert analysis.violations(solution) == ()
    assert analysis.parameters(solution) == 298_378
    assert analysis.macs(solution) / 1e6 == pytest.approx(119.7, abs=0.05)
    # the paper's other two are gone with the right half already
    assert {ours["/right/conv50/Conv"], ours["/right/conv63/Conv"]} <= analysis.dead(solution)
    cut = analyze(load_model(shrink(analysis, solution).SerializeToString()))
    assert num_vertices(cut) == 29  # 0-12, 24-29, 33-38, 77-82 without the constants of Resizes
    assert len([v for v in cut.graph.vertices if v.op_type == "Add"]) == 2  # 25, 34


def test_48_of_the_64_subsets_keep_a_path_and_the_largest_has_5() -> None:
    analysis = analysis_of("stacked_unets")
    cuts = [analysis.structure_by_id[key].edges for key in six(analysis).values()]
    sizes = Counter()
    for chosen in range(1 << len(cuts)):
        edges = [cut for number, cut in enumerate(cuts) if chosen >> number & 1]
        remaining = survivors(analysis.graph, frozenset().union(*edges))
        if is_connected(analysis.graph, remaining) and not remaining.starved:
            sizes[len(edges)] += 1
    assert sum(sizes.values()) == 48
    assert max(sizes) == 5


def test_demo_supnet_has_five_structures_and_the_paper_s_choice_halves_it() -> None:
    analysis = analysis_of("demo_supnet")
    ours = six(analysis)
    assert set(ours) == {f"/conv{number}/Conv" for number in (2, 3, 4, 7, 8)}
    summary = analysis.space.model
    assert summary.parameters / 1e6 == pytest.approx(0.82, rel=0.02)
    assert summary.macs / 1e6 == pytest.approx(209, rel=0.02)
    gone = {ours[f"/conv{number}/Conv"]: (0,) for number in (2, 3, 8)}
    solution = Solution.of(analysis.space, gone)
    assert analysis.violations(solution) == ()
    assert analysis.parameters(solution) / 1e6 == pytest.approx(0.45, rel=0.02)
    assert analysis.macs(solution) / 1e6 == pytest.approx(107, rel=0.02)


def test_demo_supnet_skips_the_more_redundant_branch_that_the_network_needs() -> None:
    """PAPER.md 1.3: with Conv8 chosen, Conv7 stays although it ranks before Conv2."""
    analysis = analysis_of("demo_supnet")
    ours = six(analysis)
    order = [ours[f"/conv{number}/Conv"] for number in (8, 7, 3, 2, 4)]

    def is_valid(units: frozenset[int]) -> bool:
        removed = {order[unit]: (0,) for unit in units}
        return not analysis.violations(Solution.of(analysis.space, removed))

    found = partition(range(5), 3, is_valid)
    assert [order[unit] for unit in found.redundant] == [order[0], order[2], order[3]]
    assert [order[unit] for unit in found.important] == [order[1], order[4]]


@pytest.mark.parametrize(
    "channels, affine, parameters", [(16, False, 1.931), (16, True, 2.005), (24, False, 3.998)]
)
def test_darts_has_the_parameters_of_the_paper(
    channels: int, affine: bool, parameters: float
) -> None:
    module = DartsSupernet(channels, affine=affine)
    found = sum(p.numel() for p in module.parameters()) / 1e6
    assert found == pytest.approx(parameters, abs=5e-4)


@pytest.mark.parametrize("channels, parameters", [(16, 3.620), (24, 7.276), (36, 15.066)])
def test_darts_of_14_cells_has_the_parameters_of_the_paper(
    channels: int, parameters: float
) -> None:
    module = DartsSupernet(channels, 14, 1000, stem="imagenet")
    found = sum(p.numel() for p in module.parameters()) / 1e6
    assert found == pytest.approx(parameters, abs=5e-4)


def expected_structures(cells: int, entrances: int) -> int:
    """Six operators on 14 edges, FactorizedReduce on 8 in two cells, and at cell entrances."""
    return cells * 14 * 6 + 2 * 8 * 3 + entrances * 2


def check_darts(analysis: Analysis, expected: int, halves: int) -> None:
    found = paper_structures(analysis)
    assert len(found) == expected
    refused = [one for one in found if one.structure is None]
    # a half of FactorizedReduce: its channels are also the channels of what it is added to
    assert len(refused) == halves
    assert {one.reason for one in refused} == {CROSSED}
    kinds = {g.id for g in analysis.space.groups if g.kind is GroupKind.OPERATOR}
    assert {one.structure.group.id for one in found if one.structure} <= kinds


def test_a_darts_supernet_of_two_cells_follows_the_formula() -> None:
    network = NETWORKS["darts_8"]
    analysis = analyzed(network.build(is_small=True), network.small_image)
    check_darts(analysis, expected_structures(2, 1), 2 * 8 * 2 + 1 * 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, expected, entrances, macs",
    [("darts_8", 724, 2, 600.0), ("darts_14", 1230, 3, 409.5)],
)
def test_darts_has_the_structures_of_the_paper(
    name: str, expected: int, entrances: int, macs: float
) -> None:
    analysis = analysis_of(name)
    check_darts(analysis, expected, 2 * 8 * 2 + entrances * 2)
    assert analysis.space.model.macs / 1e6 == pytest.approx(macs, abs=0.05)
    assert expected == expected_structures(8 if name == "darts_8" else 14, entrances)


def test_super_resnet_has_three_branches_and_a_projection_per_block() -> None:
    analysis = analyzed(SuperResNet(PLAN), (3, 32, 32))
    found = paper_structures(analysis)
    assert len(found) == 4 * (3 + 1)
    assert all(one.structure is not None for one in found)


@pytest.mark.parametrize("name, gates", [("regnet_x", 0), ("regnet_y", 13)])
def test_regnet_has_residual_branches_and_projections(name: str, gates: int) -> None:
    found = paper_structures(analysis_of(name))
    assert len([one for one in found if one.structure]) == 13 + 3
    refused = [one for one in found if one.structure is None]
    assert [one.reason for one in refused] == ["ends at Mul"] * gates


def test_carn_s_fixed_convolutions_count_24_and_stay() -> None:
    module = NETWORKS["carn"].build()
    fixed = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    assert fixed == 24
    analysis = analysis_of("carn")
    nodes = {node for group in analysis.space.groups for node in group.nodes}
    assert not {"/without_mean/Conv", "/with_mean/Conv", "/exit/Conv"} & nodes
