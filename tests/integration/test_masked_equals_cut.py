"""Golden property 1: the cut model equals the masked one, for every hard case and random networks.

The last tests turn the property against itself: what is wrong must be seen to be wrong.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from exporters.masked import mask
from exporters.surgeon import shrink
from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES, random_network, random_recurrent_network
from tests.integration.golden import (
    analysis_of,
    assert_equal,
    differences,
    feeds_of,
    interface,
    nothing_removed,
    random_solution,
    run,
)

KINDS = {
    "operator": (GroupKind.OPERATOR,),
    "channel": (GroupKind.CHANNEL,),
    "head": (GroupKind.HEAD,),
    "mixed": tuple(GroupKind),
}
SEEDS = range(3)


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis]:
    return {name: analysis_of(build()) for name, build in HARD_CASES.items()}


def check(analysis: Analysis, solution: Solution) -> None:
    """Masked == cut, predicted == counted, and the interface is untouched."""
    context = solution.to_json()
    cut = shrink(analysis, solution)
    onnx.checker.check_model(cut, full_check=True)
    assert_equal(mask(analysis, solution), cut, context)
    again = analysis_of(cut)
    nothing = nothing_removed(again)
    assert again.macs(nothing) == analysis.macs(solution), context
    assert again.parameters(nothing) == analysis.parameters(solution), context
    assert list(interface(cut)) == list(interface(analysis.loaded.model))
    assert cut.opset_import == analysis.loaded.model.opset_import


@pytest.mark.parametrize("name", HARD_CASES)
def test_nothing_removed_is_the_original(name: str, analyses: dict[str, Analysis]) -> None:
    analysis = analyses[name]
    check(analysis, nothing_removed(analysis))
    assert_equal(HARD_CASES[name](), shrink(analysis, nothing_removed(analysis)), name)


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("name", HARD_CASES)
def test_masked_equals_cut(name: str, kinds: str, analyses: dict[str, Analysis]) -> None:
    analysis = analyses[name]
    if not any(group.kind in KINDS[kinds] for group in analysis.space.groups):
        return  # nothing of this kind to remove; that there is anything is the next test's business
    for seed in SEEDS:
        check(analysis, random_solution(analysis, seed, KINDS[kinds]))


@pytest.mark.parametrize("name", HARD_CASES)
def test_every_group_can_go_alone(name: str, analyses: dict[str, Analysis]) -> None:
    analysis = analyses[name]
    for group in analysis.space.groups:
        solution = Solution.of(analysis.space, {group.id: (group.units - 1,)})
        if not analysis.violations(solution):
            check(analysis, solution)


def test_every_hard_case_has_something_to_remove(analyses: dict[str, Analysis]) -> None:
    assert [name for name, analysis in analyses.items() if not analysis.space.groups] == []


def test_random_solutions_are_many_and_large(analyses: dict[str, Analysis]) -> None:
    """The generator must not hand out solutions that remove next to nothing."""
    ratios = [
        analysis.parameters(random_solution(analysis, seed)) / analysis.space.model.parameters
        for analysis in analyses.values()
        for seed in SEEDS
    ]
    assert np.median(ratios) < 0.7
    assert min(ratios) < 0.3


@given(network=st.integers(0, 10_000), choice=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_masked_equals_cut_for_random_networks(network: int, choice: int) -> None:
    analysis = analysis_of(random_network(network))
    check(analysis, random_solution(analysis, choice))


@given(network=st.integers(0, 10_000), choice=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_masked_equals_cut_for_random_recurrent_networks(network: int, choice: int) -> None:
    analysis = analysis_of(random_recurrent_network(network))
    check(analysis, random_solution(analysis, choice))


@given(network=st.integers(0, 10_000), choice=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_bigger_solution_is_never_a_bigger_model(network: int, choice: int) -> None:
    analysis = analysis_of(random_network(network))
    solution = random_solution(analysis, choice)
    last = analysis.parameters(solution)
    for group_id in sorted(solution.removed):
        fewer = {key: units for key, units in solution.removed.items() if key != group_id}
        smaller = Solution.of(analysis.space, fewer)
        if not analysis.violations(smaller):
            assert analysis.parameters(smaller) >= last
            assert analysis.macs(smaller) >= analysis.macs(solution)


# What must fail -----------------------------------------------------------------------------------


@pytest.fixture
def analysis(analyses: dict[str, Analysis]) -> Analysis:
    return analyses["residual_add"]


def outcome(analysis: Analysis, cut: onnx.ModelProto, solution: Solution) -> list[str]:
    masked = mask(analysis, solution)
    feeds = feeds_of(masked, 3)
    return differences(run(masked, feeds), run(cut, feeds))


def channels(analysis: Analysis, units: tuple[int, ...]) -> Solution:
    group = next(g for g in analysis.space.groups if g.kind is GroupKind.CHANNEL)
    return Solution.of(analysis.space, {group.id: units})


def replace(model: onnx.ModelProto, index: int, array: np.ndarray) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    name = changed.graph.initializer[index].name
    changed.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, name))
    return changed


def test_the_right_cut_passes(analysis: Analysis) -> None:
    solution = channels(analysis, (3, 5))
    assert outcome(analysis, shrink(analysis, solution), solution) == []


def test_a_cut_of_other_channels_fails(analysis: Analysis) -> None:
    wrong = shrink(analysis, channels(analysis, (3, 6)))
    assert outcome(analysis, wrong, channels(analysis, (3, 5)))


def test_the_uncut_model_fails(analysis: Analysis) -> None:
    assert outcome(analysis, analysis.loaded.model, channels(analysis, (3, 5)))


def test_a_swapped_channel_fails(analysis: Analysis) -> None:
    solution = channels(analysis, (3, 5))
    cut = shrink(analysis, solution)
    for index, entry in enumerate(cut.graph.initializer):
        array = numpy_helper.to_array(entry)
        if array.ndim == 4:
            swapped = array.copy()
            swapped[[0, 1]] = array[[1, 0]]
            assert outcome(analysis, replace(cut, index, swapped), solution), entry.name


def test_a_slightly_wrong_weight_fails(analysis: Analysis) -> None:
    solution = channels(analysis, (3, 5))
    cut = shrink(analysis, solution)
    index = next(i for i, e in enumerate(cut.graph.initializer) if len(e.dims) == 4)
    array = numpy_helper.to_array(cut.graph.initializer[index])
    assert outcome(analysis, replace(cut, index, array * np.float32(1.001)), solution)


@pytest.mark.parametrize("case", ["lstm_2layer_bidir", "gru", "rnn_2layer_sigmoid"])
def test_other_hidden_units_fail(case: str, analyses: dict[str, Analysis]) -> None:
    analysis = analyses[case]
    group = next(g for g in analysis.space.groups if g.units == 32)
    solution = Solution.of(analysis.space, {group.id: (3, 5)})
    cut = shrink(analysis, solution)
    assert outcome(analysis, cut, solution) == []
    assert outcome(
        analysis, shrink(analysis, Solution.of(analysis.space, {group.id: (3, 6)})), solution
    )
    for index, entry in enumerate(cut.graph.initializer):
        kind = entry.name.split("_")[0]
        if kind not in ("W", "R", "B"):
            continue
        array = numpy_helper.to_array(entry)
        for axis in (1, 2) if kind == "R" else (1,):
            swapped = array.copy()
            np.moveaxis(swapped, axis, 0)[[0, 1]] = np.moveaxis(array, axis, 0)[[1, 0]]
            assert outcome(analysis, replace(cut, index, swapped), solution), (entry.name, axis)


def test_zeros_and_nan_fail() -> None:
    reference = {"y": np.array([[0.5, -2.0]], dtype=np.float32)}
    assert differences(reference, reference) == []
    assert differences(reference, {"y": np.zeros_like(reference["y"])})
    assert differences(reference, {"y": np.full_like(reference["y"], np.nan)})


def test_other_outputs_and_other_shapes_fail() -> None:
    reference = {"y": np.ones((2, 3), dtype=np.float32)}
    assert differences(reference, {"z": reference["y"]}) == ["outputs are ['z'], not ['y']"]
    assert differences(reference, {"y": reference["y"][:1]})


def test_an_all_zero_model_fails(analysis: Analysis) -> None:
    solution = channels(analysis, (3, 5))
    silent = shrink(analysis, solution)
    for index, entry in enumerate(silent.graph.initializer):
        if entry.data_type == onnx.TensorProto.FLOAT:
            silent = replace(silent, index, np.zeros_like(numpy_helper.to_array(entry)))
    assert outcome(analysis, silent, solution)
