"""The two values handed on: JSON round trips, and refusals of what does not belong."""

import json

import pytest

from graph_analysis import Analysis, SearchSpace, Solution, analyze, load_model
from graph_analysis.errors import InputError, SolutionError
from graph_analysis.testing import HARD_CASES


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(load_model(HARD_CASES["residual_add"]().SerializeToString()))


def test_a_space_survives_json(analysis: Analysis) -> None:
    text = analysis.space.to_json(indent=1)
    assert SearchSpace.from_json(text) == analysis.space
    assert SearchSpace.from_json(text).sha256 == analysis.space.sha256


def test_the_file_has_the_published_keys(analysis: Analysis) -> None:
    data = json.loads(analysis.space.to_json())
    assert set(data) == {"schema", "model", "segments", "groups", "frozen"}
    assert set(data["model"]) == {"sha256", "opset", "producer", "parameters", "macs"}
    assert set(data["segments"][0]) == {"id", "vertices", "inputs", "outputs", "joint"}
    assert set(data["groups"][0]) == {
        *("id", "kind", "units", "zero", "cut", "nodes", "macs", "parameters", "parent")
    }


def test_a_solution_survives_json_and_knows_its_space(analysis: Analysis) -> None:
    group = next(g for g in analysis.space.groups if g.units > 2)
    solution = Solution.of(analysis.space, {group.id: [1, 0]})
    again = Solution.from_json(solution.to_json())
    assert again == solution
    again.check(analysis.space)
    with pytest.raises(SolutionError, match="solve again"):
        Solution(space="0" * 64, removed={}).check(analysis.space)


@pytest.mark.parametrize("removed", [{"nobody": [0]}, {"*": [999]}, {"*": [-1]}])
def test_units_that_do_not_exist_are_refused(
    analysis: Analysis, removed: dict[str, list[int]]
) -> None:
    first = analysis.space.groups[0].id
    named = {first if key == "*" else key: units for key, units in removed.items()}
    with pytest.raises(SolutionError):
        Solution.of(analysis.space, named)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "other/1"}'])
def test_foreign_json_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        SearchSpace.from_json(text)
    with pytest.raises(InputError):
        Solution.from_json(text)


def test_incomplete_json_is_refused() -> None:
    with pytest.raises(InputError, match="malformed"):
        SearchSpace.from_json('{"schema": "secateur/search-space/1"}')
    with pytest.raises(InputError, match="malformed"):
        Solution.from_json('{"schema": "secateur/solution/1"}')
