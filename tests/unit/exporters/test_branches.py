"""Both sides of every condition are compared, whatever the inputs do."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.branches import branches_of, taking, told
from exporters.errors import ProofFailedError
from exporters.proof import prove
from exporters.sessions import OFF, open_session, run
from tests.unit.exporters.graphs import node

X = np.ones((1, 4), np.float32)


def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [helper.make_empty_tensor_value_info(name)])


def model(*nodes: onnx.NodeProto, **weights: object) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sided(factor: float, *, limit: float = 1e9) -> onnx.ModelProto:
    """Below ``limit``, which no sum of inputs reaches, twice x; else x times ``factor``."""
    return model(
        node("ReduceSum", "x", "s", keepdims=0),
        node("Less", "s limit", "c"),
        node(
            "If", "c", "y",
            then_branch=branch("t", node("Add", "x x", "t")),
            else_branch=branch("e", node("Mul", "x factor", "e")),
        ),
        limit=np.float32(limit), factor=np.float32(factor),
    )  # fmt: skip


def nested(factor: float) -> onnx.ModelProto:
    """The else branch of an else branch."""
    inner = node(
        "If", "c", "i",
        then_branch=branch("it", node("Neg", "x", "it")),
        else_branch=branch("ie", node("Mul", "x factor", "ie")),
    )  # fmt: skip
    return model(
        node("ReduceSum", "x", "s", keepdims=0),
        node("Less", "s limit", "c"),
        node(
            "If", "c", "y",
            then_branch=branch("t", node("Add", "x x", "t")),
            else_branch=branch("e", inner, node("Identity", "i", "e")),
        ),
        limit=np.float32(1e9), factor=np.float32(factor),
    )  # fmt: skip


def test_every_branch_is_found_outer_ones_first() -> None:
    paths = branches_of(nested(3))
    assert paths == [
        (("y", "then_branch"),),
        (("y", "else_branch"),),
        (("y", "else_branch"), ("i", "then_branch")),
        (("y", "else_branch"), ("i", "else_branch")),
    ]
    assert (
        told(paths[2])
        == "then_branch of the If that makes 'i' in else_branch of the If that makes 'y'"
    )


@pytest.mark.parametrize("number, expected", [(0, 2), (2, -1), (3, 3)])
def test_a_branch_can_be_taken_whatever_the_input(number: int, expected: float) -> None:
    one = nested(3)
    before = one.SerializeToString()
    taken = taking(one, branches_of(one)[number])
    assert taken is not None
    onnx.checker.check_model(taken, full_check=True)
    np.testing.assert_array_equal(run(open_session(taken, level=OFF), {"x": X})["y"], X * expected)
    assert one.SerializeToString() == before


def test_a_branch_that_is_not_there_cannot_be_taken() -> None:
    assert taking(sided(3), branches_of(nested(3))[2]) is None


def test_a_constant_condition_rules_a_branch_out() -> None:
    one = sided(3)
    one.graph.node[2].input[0] = "fixed"
    one.graph.initializer.append(numpy_helper.from_array(np.asarray(True), "fixed"))
    assert branches_of(one) == [(("y", "then_branch"),)]


@pytest.mark.parametrize("build", [sided, nested])
def test_a_wrong_branch_that_no_input_takes_is_refused(
    build: Callable[[float], onnx.ModelProto],
) -> None:
    proof = prove(build(3), build(3), original=build(3))
    assert proof.branches == proof.branches_run == len(branches_of(build(3)))
    with pytest.raises(ProofFailedError, match="failed at G3 branch: in else_branch") as caught:
        prove(build(3), build(3.1), original=build(3), keep={})
    assert caught.value.proof.mismatch is not None
    assert (caught.value.proof.mismatch.tensor, caught.value.proof.mismatch.operator) == ("y", "If")


def test_a_branch_in_which_nothing_speaks_is_noted() -> None:
    """Times 0, whatever the input."""
    proof = prove(sided(0), sided(0), original=sided(0))
    assert (proof.branches, proof.branches_run) == (2, 1)
    assert "not compared, because no input says anything there: else_branch" in proof.notes[0]


def test_a_branch_that_is_not_finite_is_refused_unless_the_original_is_not_either() -> None:
    with pytest.raises(ProofFailedError, match="failed at G3 branch: in else_branch"):
        prove(sided(np.inf), sided(np.inf), original=sided(3))
    proof = prove(sided(np.inf), sided(np.inf), original=sided(np.inf))
    assert (proof.branches, proof.branches_run) == (2, 1)
