"""What became of every segment, and its picture."""

import re
from xml.etree import ElementTree

import onnx
import pytest

from graph_analysis import Analysis, Solution, analyze, load_model, solve
from graph_analysis.outcome import State, outcomes
from graph_analysis.outline import outline
from graph_analysis.svg import outcome_picture
from graph_analysis.testing import HARD_CASES
from tests.unit.graph_analysis.placements import column


def analysis_of(model: onnx.ModelProto) -> Analysis:
    return analyze(load_model(model.SerializeToString()))


@pytest.fixture(name="block")
def block_() -> Analysis:
    return analysis_of(HARD_CASES["residual_add_folded"]())


def erasing(analysis: Analysis) -> Solution:
    key = next(group.id for group in analysis.space.groups if group.id.startswith("operator:"))
    return Solution.of(analysis.space, {key: [0]})


def test_without_a_solution_all_is_as_it_was(block: Analysis) -> None:
    found = list(outcomes(block, Solution.of(block.space, {})))
    assert [entry.id for entry in found] == [segment.id for segment in block.space.segments]
    assert {entry.state for entry in found} == {State.WHOLE}
    assert all(entry.macs[0] == entry.macs[1] for entry in found)
    assert all(entry.parameters[0] == entry.parameters[1] for entry in found)


def test_what_is_erased_costs_nothing_any_more(block: Analysis) -> None:
    solution = erasing(block)
    removed = block.effects(solution).removed_nodes
    for entry, segment in zip(outcomes(block, solution), block.space.segments, strict=True):
        assert (entry.state is State.ERASED) == (set(segment.vertices) <= removed), entry.id
        if entry.state is State.ERASED:
            assert entry.parameters[1] == entry.macs[1] == 0


@pytest.mark.parametrize("name", sorted(HARD_CASES))
def test_the_macs_of_all_segments_are_those_of_the_model(name: str) -> None:
    analysis = analysis_of(HARD_CASES[name]())
    if not analysis.space.groups:
        return
    narrowed = {
        group.id: range(group.units // 2) for group in analysis.space.groups if group.units > 1
    }
    solution = Solution.of(analysis.space, narrowed)
    found = list(outcomes(analysis, solution))
    shown = {m.index for s in analysis.segments.segments for p in s.pieces for m in p.members}
    if set(analysis.costs.macs) <= shown:
        assert sum(entry.macs[0] for entry in found) == analysis.space.model.macs
        assert sum(entry.macs[1] for entry in found) == analysis.macs(solution)


def test_the_outline_shows_what_went(block: Analysis) -> None:
    drawn = outline(block, erasing(block))
    fates = [box.fate.value for box in drawn.boxes]
    states = [entry.state for entry in outcomes(block, erasing(block))]
    assert fates.count("gone") == states.count(State.ERASED) > 0
    assert "erased" not in fates
    assert not any(box.is_within for box in drawn.boxes)


def test_the_picture_marks_what_went(block: Analysis) -> None:
    svg = outcome_picture(block, erasing(block), column, title="<b>&")
    root = ElementTree.fromstring(svg)
    assert re.search(r"[1-9] erased", svg)
    assert re.search(r'class="[a-z ]*gone', svg)
    assert "<b>" not in svg
    assert root.attrib["role"] == "img"


def test_a_narrower_box_says_from_what_to_what() -> None:
    analysis = analysis_of(HARD_CASES["fused_qkv"]())
    solution = solve(analysis, target_ratio=0.6, quantity="macs", saliency="magnitude")
    svg = outcome_picture(analysis, solution, column, title="m")
    assert "\N{RIGHTWARDS ARROW}" in svg
    assert "parameters are left" in svg
