"""Protected nodes, tensors and weights survive every solution, alone and together."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis import Analysis, AnalysisOptions, Solution, analyze, load_model
from graph_analysis.errors import InputError
from graph_analysis.reach import exhausted
from graph_analysis.testing import HARD_CASES
from graph_analysis.testing.random_networks import random_network


def two_branches() -> onnx.ModelProto:
    """A stem without weights that two structures read, beside a skip that does not pass it."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Relu", ["x"], ["s"], name="stem"),
        helper.make_node("MatMul", ["s", "u"], ["a"], name="left"),
        helper.make_node("MatMul", ["s", "v"], ["b"], name="right"),
        helper.make_node("Add", ["x", "a"], ["c"], name="first"),
        helper.make_node("Add", ["c", "b"], ["y"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(rng.normal(size=(8, 8)).astype(np.float32), n) for n in "uv"],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def analysis_of(model: onnx.ModelProto, *protect: str) -> Analysis:
    options = AnalysisOptions(protect=protect)
    return analyze(load_model(model.SerializeToString()), options=options)


def all_gone(analysis: Analysis) -> Solution:
    return exhausted(analysis, lambda group: group.macs)


def names_left(analysis: Analysis) -> set[str]:
    removed = analysis.effects(all_gone(analysis)).removed_nodes
    return {vertex.name for vertex in analysis.graph.vertices} - removed


def test_what_feeds_two_structures_survives_if_it_is_protected() -> None:
    assert names_left(analysis_of(two_branches())) == set()
    assert {"stem"} < names_left(analysis_of(two_branches(), "stem"))
    assert {"stem"} < names_left(analysis_of(two_branches(), "s"))


def test_a_solution_that_takes_something_protected_along_is_not_valid() -> None:
    free, held = analysis_of(two_branches()), analysis_of(two_branches(), "st*")
    both = Solution.of(held.space, dict.fromkeys(held.structure_by_id, (0,)))
    assert len(both.removed) == 2
    assert free.violations(Solution.of(free.space, both.removed)) == ()
    assert held.violations(both) == ("'stem' is protected",)


@pytest.mark.parametrize("name", ["left", "u", "a"])
def test_nodes_weights_and_tensors_are_protected_alike(name: str) -> None:
    analysis = analysis_of(two_branches(), name)
    assert "left" in names_left(analysis)
    assert "right" not in names_left(analysis)


def test_a_protected_tensor_keeps_its_channels() -> None:
    free = analysis_of(HARD_CASES["flatten_fc"]())
    relu = next(v for v in free.graph.vertices if v.op_type == "Relu")
    for name in (relu.name, relu.outputs[0]):
        held = analysis_of(HARD_CASES["flatten_fc"](), name)
        assert len(held.space.groups) < len(free.space.groups)
        assert any(entry.reason == f"protected by {name!r}" for entry in held.space.frozen)
        before, after = (a.effects(all_gone(held)).shapes[relu.outputs[0]] for a in (free, held))
        assert before == after


def test_a_pattern_that_nothing_matches_is_refused() -> None:
    with pytest.raises(InputError, match=r"'stam' matches no node, tensor or weight"):
        analysis_of(two_branches(), "stem", "stam")


@pytest.mark.parametrize("seed", [2, 5, 8])
def test_a_protected_weight_loses_nothing_whatever_else_goes(seed: int) -> None:
    model = random_network(seed, blocks=5)
    free = analysis_of(model)
    cut = set(free.effects(all_gone(free)).keep).intersection(free.costs.parameters)
    assert len(cut) > 5
    for name in sorted(cut):
        held = analysis_of(model, name)
        effects = held.effects(all_gone(held))
        assert name not in effects.keep
        users = {held.graph.vertices[index].name for index, _ in held.graph.consumers[name]}
        assert not users & effects.removed_nodes
