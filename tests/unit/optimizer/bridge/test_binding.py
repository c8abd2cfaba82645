from dataclasses import replace

import numpy as np
import pytest
import torch

from exporters.masked import mask
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.loading import LoadedModel, load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.testing import HARD_CASES
from graph_analysis.timing import MeasuredShare, Timing
from optimizer.bridge.binding import Binding, bind
from optimizer.bridge.module import import_model
from optimizer.h2spg import NO_UNIT
from optimizer.h2spg.units import fill_zero
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, run_imported, run_ort


def loaded(name: str) -> LoadedModel:
    return load_model(HARD_CASES[name]().SerializeToString())


def bound(name: str) -> tuple[Analysis, Binding]:
    model = loaded(name)
    analysis = analyze(model)
    return analysis, bind(analysis, import_model(analysis.maskable()))


def test_a_module_without_its_masks_is_refused() -> None:
    """It would train towards statistics over all channels, and be cut to those that stay."""
    model = loaded("layernorm_mlp")
    with pytest.raises(ValueError, match=r"lacks mask .* import analysis.maskable\(\)"):
        bind(analyze(model), import_model(model.model))


@pytest.mark.parametrize("name", ["residual_add", "concat", "separate_qkv_heads"])
def test_units_are_numbered_through_all_groups(name: str) -> None:
    analysis, binding = bound(name)
    groups = analysis.space.groups
    assert binding.num_units == sum(group.units for group in groups)
    assert binding.operator_units.sum() == sum(g.kind is GroupKind.OPERATOR for g in groups)
    pools = binding.pool_of_unit
    assert set(pools[binding.operator_units].tolist()) == {0}
    assert len(set(pools.tolist())) == 1 + sum(g.kind is not GroupKind.OPERATOR for g in groups)
    removed = torch.zeros(binding.num_units, dtype=torch.bool)
    last = groups[-1]
    removed[-1] = True
    assert binding.removed_by_group(removed) == {last.id: [last.units - 1]}
    assert binding.solution(removed).removed == {last.id: (last.units - 1,)}


@pytest.mark.parametrize("name", ["residual_add", "concat", "depthwise_conv", "fused_qkv"])
def test_the_slices_are_those_of_the_space(name: str) -> None:
    analysis, binding = bound(name)
    tensors = binding.imported.tensors
    of_tensor = {id(tensor): initializer for initializer, tensor in tensors.items()}
    found: dict[tuple[str, int, int], set[int]] = {}
    for entry in binding.slices():
        for position, unit in enumerate(entry.unit_of_position.tolist()):
            if unit != NO_UNIT:
                key = (of_tensor[id(entry.parameter)], entry.dim, unit)
                found.setdefault(key, set()).add(position)
    expected: dict[tuple[str, int, int], set[int]] = {}
    for group in analysis.space.groups:
        for slices in (*group.zero, *group.masks):
            for unit, indices in enumerate(slices.unit_indices):
                key = (slices.initializer, slices.axis, binding.first_unit[group.id] + unit)
                expected.setdefault(key, set()).update(indices)
    assert found == {key: indices for key, indices in expected.items() if indices}


def test_slices_of_neighbours_share_one_entry() -> None:
    _, binding = bound("concat")
    keys = [(id(entry.parameter), entry.dim) for entry in binding.slices()]
    per_tensor = max(keys.count(key) for key in keys)
    assert per_tensor <= 3  # the channels of all branches together, and two operators


@pytest.mark.parametrize("target", [0.7, 0.4])
def test_decisions_share_the_budget_geometrically_and_keep_what_is_removed(target: float) -> None:
    _, binding = bound("residual_add_folded")
    choose = binding.chooser(target)
    rng = np.random.default_rng(0)
    removed = torch.zeros(binding.num_units, dtype=torch.bool)
    for fraction in (0.25, 0.5, 0.75, 1.0):
        saliency = torch.from_numpy(rng.random(binding.num_units))
        chosen = choose(saliency, removed, fraction)
        assert (chosen | removed).equal(chosen)
        assert binding.remaining_ratio(chosen) <= target**fraction
        assert not binding.analysis.violations(binding.solution(chosen))
        removed = chosen
    assert binding.remaining_ratio(removed) > target / 2
    assert binding.remaining_ratio(torch.zeros_like(removed)) == 1.0


def test_operators_and_channels_are_searched_together() -> None:
    _, binding = bound("residual_add")
    nothing = torch.zeros(binding.num_units, dtype=torch.bool)
    saliency = torch.ones(binding.num_units, dtype=torch.float64)
    choose = binding.chooser(0.02)
    saliency[0] = 0.0
    assert choose(saliency, nothing, 1.0)[0]
    # It is most of the network: more than the first decision's share, but not than the budget.
    first = choose(saliency, nothing, 0.01)
    assert first[0]
    assert first.sum() == 1
    saliency[0] = 2.0
    assert not choose(saliency, nothing, 0.01)[0]


def test_a_target_out_of_reach_is_refused_before_training() -> None:
    _, binding = bound("depthwise_conv")
    with pytest.raises(TargetUnreachableError) as caught:
        binding.chooser(1e-6, "parameters")
    assert 0 < caught.value.reachable_ratio < 1


def test_a_module_of_another_model_is_refused() -> None:
    small, large = loaded("conv1d"), loaded("conv3d")
    analysis = analyze(large)
    other = import_model(small.model)
    with pytest.raises(ValueError, match=r"the module's tensor has|positions|does not exist"):
        bind(analysis, _renamed(other, analysis))


def _renamed(imported, analysis):
    """Give the module's tensors the names that the space of another model uses."""
    names = sorted({s.initializer for g in analysis.space.groups for s in g.zero})
    own = sorted(imported.paths, key=lambda name: -imported.tensors[name].dim())
    imported.paths = {name: imported.paths[mine] for name, mine in zip(names, own, strict=False)}
    return imported


def test_initializers_that_the_module_does_not_hold_are_left_out() -> None:
    _, binding = bound("conv1d")
    before = len(binding.slices())
    lost = binding.analysis.space.groups[0].zero[0].initializer
    binding.imported.paths = {k: v for k, v in binding.imported.paths.items() if k != lost}
    assert len(binding.slices()) < before


@pytest.mark.parametrize(
    "name", ["residual_add", "concat", "multi_branch_inception_pool", "se_block", "depthwise_conv"]
)
def test_zeroed_units_give_the_masked_model(name: str) -> None:
    """Gate G2: what training leaves is what the proof starts from."""
    analysis, binding = bound(name)
    removed = binding.chooser(0.5)(
        torch.from_numpy(np.random.default_rng(1).random(binding.num_units)),
        torch.zeros(binding.num_units, dtype=torch.bool),
        1.0,
    )
    layout = binding.layout()
    dims = analysis.loaded.model.graph.input[0].type.tensor_type.shape.dim
    shape = [axis.dim_value or 2 for axis in dims]
    feeds = {binding.imported.input_names[0]: floats(*shape)}
    masked = run_ort(mask(analysis, binding.solution(removed)), feeds)
    whole = run_imported(binding.imported, feeds)
    with torch.no_grad():
        fill_zero(layout.tensors, layout.positions(removed))
    assert_same(run_imported(binding.imported, feeds), masked)
    assert np.abs(whole[0] - masked[0]).max() > 1e-3  # the comparison can fail


def test_a_budget_of_latency_is_predicted_on_the_way_and_measured_at_the_end() -> None:
    analysis, plain = bound("residual_add_folded")
    nothing = torch.zeros(plain.num_units, dtype=torch.bool)
    measured = []

    def measure(solution):
        measured.append(solution)
        share = 0.1 + 0.9 * plain.remaining_ratio(nothing | plain._of_solution(solution))
        return MeasuredShare(median=share, low=share, high=share, rounds=20)

    binding = replace(plain, timing=Timing(analysis=analysis, measure=measure))
    choose = binding.chooser(0.5, "latency")
    assert binding.remaining_ratio(nothing, "latency") == pytest.approx(1.0, abs=1e-3)
    removed, rng = nothing, np.random.default_rng(0)
    before = len(measured)
    for fraction in (0.25, 0.5, 0.75, 1.0):
        assert len(measured) == before
        saliency = torch.from_numpy(rng.random(binding.num_units))
        chosen = choose(saliency, removed, fraction)
        assert (chosen | removed).equal(chosen)
        removed = chosen
    assert len(measured) > before
    assert 0.48 <= 0.1 + 0.9 * binding.remaining_ratio(removed) <= 0.5
    with pytest.raises(TargetUnreachableError, match="measured latency"):
        binding.chooser(0.05, "latency")
    with pytest.raises(ValueError, match="something that measures"):
        plain.chooser(0.5, "latency")


@pytest.mark.parametrize(("multiple", "least"), [(8, 1), (4, 6), (1, 5)])
def test_every_decision_keeps_multiples_and_least_units(multiple: int, least: int) -> None:
    options = AnalysisOptions(multiple=multiple, min_units=least)
    analysis = analyze(loaded("residual_add_folded"), options=options)
    binding = bind(analysis, import_model(analysis.maskable()))
    with pytest.raises(TargetUnreachableError) as caught:
        binding.chooser(1e-6)
    target = caught.value.reachable_ratio
    choose, rng = binding.chooser(target), np.random.default_rng(0)
    removed = torch.zeros(binding.num_units, dtype=torch.bool)
    for fraction in (0.5, 1.0):
        removed = choose(torch.from_numpy(rng.random(binding.num_units)), removed, fraction)
        for key, units in binding.solution(removed).removed.items():
            group = analysis.space.group_by_id[key]
            if group.kind is not GroupKind.OPERATOR:
                kept = group.units - len(units)
                assert kept % multiple == 0
                assert kept >= least
    assert binding.remaining_ratio(removed) <= target


@pytest.mark.parametrize("quantity", ["macs", "latency"])
def test_every_decision_is_told_with_its_saliencies(quantity: str) -> None:
    model = loaded("residual_add_folded")
    analysis = analyze(model)
    told: list[tuple[dict[str, list[float]], dict[str, list[int]]]] = []
    timing = Timing(
        analysis=analysis,
        measure=lambda solution: MeasuredShare(median=0.4, low=0.4, high=0.4, rounds=1),
        known={},
    )
    binding = bind(
        analysis,
        import_model(analysis.maskable()),
        timing=timing,
        decided=lambda values, removed: told.append(
            (
                {key: value.tolist() for key, value in values.items()},
                {key: list(units) for key, units in removed.items()},
            )
        ),
    )
    choose = binding.chooser(0.5, quantity)  # type: ignore[arg-type]
    given = torch.arange(binding.num_units, dtype=torch.float64)
    gone = choose(given, torch.zeros(binding.num_units, dtype=torch.bool), 0.5)
    choose(given, gone, 1.0)
    assert len(told) == 2
    assert told[0][1] == {}
    assert told[1][1] == binding.removed_by_group(gone) != {}
    for values, _ in told:
        assert list(values) == [group.id for group in analysis.space.groups]
        assert [one for units in values.values() for one in units] == given.tolist()
