"""Which branches are structures, how each is silenced, and what lies in what."""

import pytest

from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES


def analysis_of(name: str, **options: object) -> Analysis:
    loaded = load_model(HARD_CASES[name]().SerializeToString())
    return analyze(loaded, options=AnalysisOptions(**options))


def structures(analysis: Analysis) -> dict[str, tuple[int, bool, str | None]]:
    """Id (without its kind) -> nodes that die, whether it has a gate, what it lies in."""
    return {
        entry.group.id.removeprefix("operator:"): (
            len(entry.vertices),
            bool(entry.gates),
            entry.group.parent and entry.group.parent.removeprefix("operator:"),
        )
        for entry in analysis.structures
    }


TABLE: dict[str, dict[str, tuple[int, bool, str | None]]] = {
    "residual_add": {"conv_3": (5, False, None)},
    "branch_ends_in_sigmoid": {"conv_2": (2, True, None)},
    "branch_divides_by_its_norm": {"conv_2": (4, True, None)},
    "branch_shares_its_weight": {"conv_4": (1, True, None)},
    "pool_and_skip_in_a_sum": {"averagepool_2": (1, True, None), "conv_3": (1, False, None)},
    "pool_of_the_input_in_a_concat": {
        "averagepool_0": (1, True, None),
        "conv_1": (1, False, None),
    },
    "pyramid_pooling": {
        "maxpool_2": (2, True, None),
        "maxpool_3": (1, True, "maxpool_2"),
        "concat_4[0]": (0, True, None),
        "concat_4[1]": (0, True, None),
    },
    "pool_added_to_a_trunk": {"conv_2": (3, True, None), "conv_5": (1, False, None)},
    "nested_residual": {"conv_2": (8, False, None), "conv_4": (3, False, "conv_2")},
    "unet_two_levels": {
        "conv_2": (9, False, None),
        "conv_4": (3, False, "conv_2"),
        "concat_7[0]": (0, True, "conv_2"),
        "concat_11[0]": (0, True, None),
    },
    "two_scales_from_one_branch": {
        "conv_2": (2, False, None),
        "conv_6": (3, False, None),
        "maxpool_5": (1, True, "conv_2"),
    },
    "repeated_layers": {
        "matmul_2": (5, False, "matmul_2..add_12"),
        "matmul_8": (5, False, "matmul_2..add_12"),
        "matmul_2..add_12": (10, False, None),
        "matmul_14": (5, False, "matmul_14..add_24"),
        "matmul_20": (5, False, "matmul_14..add_24"),
        "matmul_14..add_24": (10, False, None),
    },
    "dense_block": {
        "batchnormalization_2": (3, False, None),
        "batchnormalization_6": (4, False, None),
        "batchnormalization_10": (4, False, None),
    },
    "subtracted_branch": {"conv_3": (2, True, None)},
    "multi_branch_inception_pool": {
        "conv_2": (2, False, None),
        "conv_4": (2, False, None),
        "averagepool_6": (1, True, None),
    },
    "interpolate_static_sizes": {"conv_2": (3, False, None), "concat_5[0]": (0, True, None)},
    "se_block": {},
    "stack_unbind": {},
    "outer_broadcast_add": {"conv_1": (1, False, None)},
    "cls_token_concat_seq": {"matmul_10": (5, False, None)},
}


@pytest.mark.parametrize("name", TABLE)
def test_structures(name: str) -> None:
    assert structures(analysis_of(name)) == TABLE[name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("residual_add", "nothing would be saved without this skip connection"),
        ("outer_broadcast_add", "gives 'add_2' its shape"),
        ("subtracted_branch", "is the left side of 'sub_5'"),
        ("stack_unbind", "the positions it would leave in a Concat must stay"),
        ("pool_added_to_a_trunk", "its channels are also made elsewhere"),
        ("focus_space2depth_slice", "is all that 'concat_6' joins"),
    ],
)
def test_refused_with_the_reason(name: str, reason: str) -> None:
    assert reason in {entry.reason for entry in analysis_of(name).refused}


def test_branches_beyond_the_bound_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out in silence."""
    monkeypatch.setattr("graph_analysis.branches._WORK", 0)
    analysis = analysis_of("unet_two_levels")
    reasons = [entry.reason for entry in analysis.refused]
    assert any(reason.startswith("was not looked at") for reason in reasons)
    whole = len(TABLE["unet_two_levels"])
    assert len(analysis.structures) + len(reasons) == whole


def test_a_statistic_keeps_two_positions() -> None:
    """A norm over one position is nothing but rounding."""
    analysis = analysis_of("layernorm_mlp")
    group = next(g for g in analysis.space.groups if g.masked and g.kind == "channel")
    one_left = Solution.of(analysis.space, {group.id: range(group.units - 1)})
    assert any("keeps 1 units, 2 must stay" in text for text in analysis.violations(one_left))
    two_left = Solution.of(analysis.space, {group.id: range(group.units - 2)})
    assert analysis.violations(two_left) == ()


def test_a_protected_node_keeps_every_structure_that_holds_it() -> None:
    found = structures(analysis_of("nested_residual", protect=("conv_4",)))
    assert found == {}
    assert set(structures(analysis_of("nested_residual", protect=("conv_2",)))) == {"conv_4"}


def test_channels_of_a_pool_stay_units_of_what_makes_them() -> None:
    """Its place in the Concat can go alone, or with the channels that it carries."""
    analysis = analysis_of("multi_branch_inception_pool")
    trunk = next(g for g in analysis.space.groups if g.units == 16 and g.kind == "channel")
    consumer = [s for s in trunk.cut if len(s.unit_indices[0]) == 1 and s.axis == 1]
    pool = analysis.structure_by_id["operator:averagepool_6"].group
    assert [slices.initializer for slices in pool.cut] == [consumer[-1].initializer]
    assert len(pool.cut[0].unit_indices[0]) == 16
    keep = analysis.effects(Solution.of(analysis.space, {pool.id: [0]})).keep
    first = trunk.cut[0].initializer
    assert first not in keep


def test_a_structure_within_an_erased_one_is_dead() -> None:
    analysis = analysis_of("nested_residual")
    both = Solution.of(analysis.space, {"operator:conv_2": [0], "operator:conv_4": [0]})
    assert analysis.violations(both) == ("structure 'operator:conv_4' is already dead",)


def test_a_union_is_dead_when_its_parts_are_gone_and_they_are_with_it() -> None:
    analysis = analysis_of("repeated_layers")
    parts = {"operator:matmul_2": [0], "operator:matmul_8": [0]}
    whole = {"operator:matmul_2..add_12": [0]}
    assert analysis.violations(Solution.of(analysis.space, parts)) == ()
    found = analysis.violations(Solution.of(analysis.space, {**parts, **whole}))
    assert len(found) == 3
    one = {"operator:matmul_2": [0], **whole}
    found = analysis.violations(Solution.of(analysis.space, one))
    assert found == ("structure 'operator:matmul_2' is already dead",)


def test_both_inputs_of_a_joint_cannot_go() -> None:
    analysis = analysis_of("slice_channels")
    both = {key: [0] for key in analysis.structure_by_id}
    assert len(both) == 2
    found = analysis.violations(Solution.of(analysis.space, both))
    assert any("loses all its inputs" in reason for reason in found)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_what_dies_is_what_no_output_needs(name: str) -> None:
    """Counted uses against a walk from the outputs over the graph without the edges."""
    analysis = analysis_of(name)
    graph = analysis.graph
    for entry in analysis.structures:
        needed: set[int] = set()
        stack = [graph.producer[output] for output in graph.outputs]
        while stack:
            index = stack.pop()
            if index in needed:
                continue
            needed.add(index)
            stack += [
                graph.producer[name]
                for name in graph.vertices[index].inputs
                if name in graph.producer and (index, name) not in entry.edges
            ]
        dead = {v.index for v in graph.vertices} - needed
        assert entry.vertices == dead
        remaining = analysis.survivors(Solution.of(analysis.space, {entry.group.id: [0]}))
        assert remaining.removed - dead <= {joint for joint, _ in entry.edges}


def test_every_operator_group_is_one_unit_with_its_price() -> None:
    for name in TABLE:
        analysis = analysis_of(name)
        nothing = Solution.of(analysis.space, {})
        for group in analysis.space.groups:
            if group.kind is GroupKind.OPERATOR:
                gone = Solution.of(analysis.space, {group.id: [0]})
                assert group.units == 1
                assert group.macs == analysis.macs(nothing) - analysis.macs(gone)
                lost = analysis.parameters(nothing) - analysis.parameters(gone)
                assert group.parameters == lost
