"""Deleting, splicing, dropping: the graph edits alone and through the surgeon."""

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from exporters.errors import SurgeryError
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES
from tests.unit.exporters.graphs import FakeAnalysis, analysis, build, erased_branch, node
from tests.unit.exporters.proving import cut_and_prove, inputs, operators


def residual(*, tail: bool, trunk: bool = True, twice: bool = False) -> FakeAnalysis:
    """[conv ->] t, conv branch, Add(s); the Add is the output unless there is a ``tail``."""
    nodes = [node("Conv", "x w0 b0", "t")] if trunk else []
    first = "t" if trunk else "x"
    nodes += [node("Conv", f"{first} w1 b1", "c"), node("Add", f"{first} c", "a" if tail else "y")]
    removed, splices = ["n_c"], {"a" if tail else "y": first}
    zero: dict[str, Any] = {"w1": {0: range(3)}, "b1": {0: range(3)}}
    weights: dict[str, Any] = {"w1": (3, 3, 1, 1), "b1": (3,)}
    if trunk:
        weights |= {"w0": (3, 3, 1, 1), "b0": (3,)}
    if twice:
        nodes += [node("Conv", "a w2 b2", "c2"), node("Add", "a c2", "a2")]
        weights |= {"w2": (3, 3, 1, 1), "b2": (3,)}
        zero |= {"w2": {0: range(3)}, "b2": {0: range(3)}}
        removed, splices = [*removed, "n_c2"], {**splices, "a2": "a"}
    if tail:
        nodes.append(node("Sigmoid", "a2" if twice else "a", "y"))
    model = build({"x": ["n", 3, 2, 2]}, {"y": ["n", 3, 2, 2]}, nodes, weights)
    return analysis(model, zero=zero, removed_nodes=removed, splices=splices)


def test_consumers_read_what_replaces_the_joint() -> None:
    cut = cut_and_prove(residual(tail=True))
    assert operators(cut) == ["Conv", "Sigmoid"]
    assert inputs(cut, "n_y") == ["t"]


def test_joints_behind_joints_are_followed_to_the_end() -> None:
    cut = cut_and_prove(residual(tail=True, twice=True))
    assert operators(cut) == ["Conv", "Sigmoid"]


def test_a_joint_drops_an_input_that_lives_on() -> None:
    """Another operator reads the tensor, so its producer stays."""
    found = analyze(load_model(HARD_CASES["pyramid_pooling"]().SerializeToString()))
    cut = shrink(found, Solution.of(found.space, {"operator:concat_4[0]": [0]}))
    assert inputs(cut, "concat_4") == ["maxpool_2", "maxpool_3"]
    assert inputs(cut, "maxpool_2") == ["relu_1"]


def test_an_output_keeps_its_name_by_renaming_what_replaces_it() -> None:
    cut = cut_and_prove(residual(tail=False))
    assert operators(cut) == ["Conv"]
    assert list(cut.graph.node[0].output) == ["y"]


def test_an_input_that_becomes_the_output_is_copied() -> None:
    cut = cut_and_prove(residual(tail=False, trunk=False))
    assert operators(cut) == ["Identity"]


def test_two_outputs_of_one_tensor_are_renamed_once_and_copied_once() -> None:
    nodes = [
        node("Conv", "x w0 b0", "t"),
        node("Conv", "t w1 b1", "c"),
        node("Add", "t c", "y"),
        node("Add", "c t", "z"),
    ]
    weights = {"w0": (3, 3, 1, 1), "b0": (3,), "w1": (3, 3, 1, 1), "b1": (3,)}
    outputs = {"y": ["n", 3, 2, 2], "z": ["n", 3, 2, 2]}
    model = build({"x": ["n", 3, 2, 2]}, outputs, nodes, weights)
    cut = cut_and_prove(
        analysis(
            model,
            zero={"w1": {0: range(3)}, "b1": {0: range(3)}},
            removed_nodes=["n_c"],
            splices={"y": "t", "z": "t"},
        )
    )
    assert operators(cut) == ["Conv", "Identity"]
    assert [value.name for value in cut.graph.output] == ["y", "z"]


def test_a_sum_drops_what_is_gone_and_lives_on() -> None:
    nodes = [
        node("Conv", "x w0 b0", "a"),
        node("Conv", "x w1 b1", "b"),
        node("Conv", "x w2 b2", "c"),
        node("Sum", "a b c", "y"),
    ]
    weights = {f"w{i}": (3, 3, 1, 1) for i in range(3)} | {f"b{i}": (3,) for i in range(3)}
    model = build({"x": ["n", 3, 2, 2]}, {"y": ["n", 3, 2, 2]}, nodes, weights)
    zero = {"w1": {0: range(3)}, "b1": {0: range(3)}}
    cut = cut_and_prove(analysis(model, zero=zero, removed_nodes=["n_b"]))
    assert inputs(cut, "n_y") == ["a", "c"]


def test_a_node_that_still_needs_what_is_gone_is_named() -> None:
    whole = erased_branch()
    broken = FakeAnalysis(**{**vars(whole), "splices": {}})
    with pytest.raises(SurgeryError, match="node 'n_a' stays but reads 'c1', which was removed"):
        shrink(broken, broken.solution)


def test_an_output_that_would_vanish_is_named() -> None:
    whole = residual(tail=True)
    broken = FakeAnalysis(**{**vars(whole), "removed_nodes": frozenset({"n_y"}), "splices": {}})
    with pytest.raises(SurgeryError, match="output 'y' of the model was removed"):
        shrink(broken, broken.solution)


@pytest.mark.parametrize(
    "splices, message", [({"a": "nowhere"}, "does not exist"), ({"a": "t", "t": "a"}, "circle")]
)
def test_splices_that_make_no_sense_are_refused(splices: dict[str, str], message: str) -> None:
    whole = residual(tail=True)
    broken = FakeAnalysis(**{**vars(whole), "splices": splices})
    with pytest.raises(SurgeryError, match=message):
        shrink(broken, broken.solution)


def test_a_body_that_captures_a_spliced_tensor_reads_the_new_one() -> None:
    """The If's branches read the Add's output from outside."""
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["a"], [f"{op}_out"], name="")],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)],
        )
        for op in ("Relu", "Sigmoid")
    ]
    nodes = [
        node("Conv", "x w0 b0", "t"),
        node("Conv", "t w1 b1", "c"),
        node("Add", "t c", "a"),
        node("ReduceMax", "x", "top", keepdims=0),
        node("Greater", "top nought", "flag"),
        node("If", "flag", "y", then_branch=branches[0], else_branch=branches[1]),
    ]
    weights = {"w0": (3, 3, 1, 1), "b0": (3,), "w1": (3, 3, 1, 1), "b1": (3,), "nought": NOUGHT}
    model = build({"x": ["n", 3, 2, 2]}, {"y": ["n", 3, 2, 2]}, nodes, weights)
    cut = cut_and_prove(
        analysis(
            model,
            zero={"w1": {0: range(3)}, "b1": {0: range(3)}},
            removed_nodes=["n_c"],
            splices={"a": "t"},
        )
    )
    bodies = [attribute.g for attribute in cut.graph.node[-1].attribute]
    assert [list(body.node[0].input) for body in bodies] == [["t"], ["t"]]


NOUGHT = onnx.numpy_helper.to_array(helper.make_tensor("", TensorProto.FLOAT, [], [0.0]))
