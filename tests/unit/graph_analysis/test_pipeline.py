"""Whole analyses: groups, structures, reasons, validity, and the budget."""

import numpy as np
import pytest

from graph_analysis import (
    Analysis,
    AnalysisOptions,
    GroupKind,
    Solution,
    analyze,
    load_model,
    solve,
)
from graph_analysis.errors import InputError, ModelError, TargetUnreachableError
from graph_analysis.explain import explain
from graph_analysis.findings import covered_ratio
from graph_analysis.testing import HARD_CASES


def analysis_of(name: str, **options: object) -> Analysis:
    chosen = AnalysisOptions(**options)  # type: ignore[arg-type]
    return analyze(load_model(HARD_CASES[name]().SerializeToString()), options=chosen)


def units(analysis: Analysis, kind: GroupKind) -> list[int]:
    return sorted(group.units for group in analysis.space.groups if group.kind is kind)


@pytest.mark.parametrize(
    ("name", "channels", "operators"),
    [
        ("residual_add", [32, 64], 1),
        ("concat", [16, 24, 32], 2),
        ("flatten_fc", [16, 64], 0),
        ("slice_channels", [12, 20], 2),
        ("multi_branch_inception_pool", [8, 12, 16, 24], 3),
    ],
)
def test_groups_of_the_hard_cases(name: str, channels: list[int], operators: int) -> None:
    analysis = analysis_of(name)
    found = units(analysis, GroupKind.CHANNEL)
    assert all(width in found for width in channels), found
    assert len(units(analysis, GroupKind.OPERATOR)) == operators


def test_every_weight_has_a_group_or_a_reason() -> None:
    for name in HARD_CASES:
        analysis = analysis_of(name)
        grouped = {s.initializer for g in analysis.space.groups for s in g.cut}
        named = {entry.initializer for entry in analysis.space.frozen}
        missing = analysis.costs.parameters - grouped - named
        assert not missing, (name, missing)


def test_a_gate_is_not_erased() -> None:
    analysis = analysis_of("se_block")
    assert not units(analysis, GroupKind.OPERATOR)


def test_the_last_unit_and_the_last_path_stay() -> None:
    analysis = analysis_of("residual_add")
    channel = next(g for g in analysis.space.groups if g.kind is GroupKind.CHANNEL)
    everything = Solution.of(analysis.space, {channel.id: range(channel.units)})
    assert any("keeps 0 units" in reason for reason in analysis.violations(everything))


def test_a_group_inside_an_erased_structure_is_already_dead() -> None:
    analysis = analysis_of("residual_add")
    structure = next(g for g in analysis.space.groups if g.kind is GroupKind.OPERATOR)
    inner = next(g for g in analysis.space.groups if g.parent == structure.id)
    both = Solution.of(analysis.space, {structure.id: [0], inner.id: [0]})
    assert any("already dead" in reason for reason in analysis.violations(both))


def test_protected_weights_stay_with_that_reason() -> None:
    analysis = analysis_of("residual_add", protect=("*",))
    assert not analysis.space.groups
    assert any("protected" in entry.reason for entry in analysis.space.frozen)


def test_kinds_can_be_chosen() -> None:
    analysis = analysis_of("residual_add", kinds=frozenset({GroupKind.OPERATOR}))
    assert {group.kind for group in analysis.space.groups} == {GroupKind.OPERATOR}


def test_an_unknown_input_is_named() -> None:
    with pytest.raises(ModelError, match="nobody"):
        analysis_of("residual_add", input_shapes={"nobody": (1, 2)})
    with pytest.raises(ModelError, match="axes"):
        analysis_of("residual_add", input_shapes={"x": (1, 2)})


@pytest.mark.parametrize("saliency", ["magnitude", "random"])
@pytest.mark.parametrize("quantity", ["macs", "parameters", "bytes"])
@pytest.mark.parametrize("name", ["residual_add", "concat", "depthwise_conv"])
def test_budgets_are_met_and_never_exceeded(name: str, quantity: str, saliency: str) -> None:
    analysis = analysis_of(name)
    solution = solve(analysis, target_ratio=0.5, quantity=quantity, saliency=saliency)  # type: ignore[arg-type]
    assert not analysis.violations(solution)
    cost = {"macs": analysis.macs, "parameters": analysis.parameters, "bytes": analysis.bytes}
    ratio = cost[quantity](solution) / cost[quantity](Solution.of(analysis.space, {}))
    assert 0.35 < ratio <= 0.5


def test_kept_units_are_a_multiple() -> None:
    analysis = analysis_of("residual_add", multiple=8)
    solution = solve(analysis, target_ratio=0.6)
    for key, removed in solution.removed.items():
        group = analysis.space.group_by_id[key]
        if group.kind is GroupKind.CHANNEL:
            assert (group.units - len(removed)) % 8 == 0


def test_targets_out_of_reach_say_what_can_be_reached() -> None:
    analysis = analysis_of("residual_add")
    with pytest.raises(TargetUnreachableError) as caught:
        solve(analysis, target_ratio=1e-6)
    assert 0 < caught.value.reachable_ratio < 1
    assert caught.value.exit_code == 3
    with pytest.raises(InputError):
        solve(analysis, target_ratio=1.5)


def test_least_salient_units_go_first() -> None:
    analysis = analysis_of("residual_add", kinds=frozenset({GroupKind.CHANNEL}))
    saliency = {g.id: np.arange(g.units, dtype=np.float64) for g in analysis.space.groups}
    solution = solve(analysis, target_ratio=0.7, saliency=saliency)
    for removed in solution.removed.values():
        assert removed == tuple(range(len(removed)))


def test_the_explanation_names_groups_and_reasons() -> None:
    analysis = analysis_of("se_block")
    text = explain(analysis)
    assert all(group.id in text for group in analysis.space.groups)
    assert "graph inputs keep their shape" in text
    assert 0 < covered_ratio(analysis) <= 1


def test_assumed_lengths_are_said() -> None:
    model = HARD_CASES["residual_add"]()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"free{axis}"
    text = explain(analyze(load_model(model.SerializeToString())))
    assert "bound to [1, 3, 64, 64]" in text
    assert "bound to" not in explain(analysis_of("residual_add"))
