"""Dead nodes and unused weights: what became so goes, what was so stays."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.cleanup import live_nodes, share_equal
from exporters.draft import Draft
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.solution import Solution
from tests.unit.exporters.graphs import analysis, build, node
from tests.unit.exporters.proving import operators, values


def test_live_nodes_are_those_an_output_depends_on_bodies_included() -> None:
    body = helper.make_graph(
        [helper.make_node("Relu", ["captured"], ["o"])],
        "b",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Neg", ["x"], ["captured"], name="captured"),
        helper.make_node("Neg", ["x"], ["dead"], name="dead"),
        helper.make_node("Neg", ["dead"], ["dead2"], name="dead2"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=body, else_branch=body),
    ]
    assert [node.name for node in live_nodes(nodes, ["y"])] == ["captured", "if"]


def test_a_chain_that_only_served_what_is_gone_goes_to_its_start() -> None:
    """A gate network: pool -> conv -> Sigmoid -> Mul in the erased branch."""
    nodes = [
        node("Conv", "x w0 b0", "t"),
        node("Conv", "t w1 b1", "c"),
        node("GlobalAveragePool", "t", "g"),
        node("Conv", "g w2 b2", "gc"),
        node("Sigmoid", "gc", "gs"),
        node("Mul", "c gs", "m"),
        node("Add", "t m", "a"),
        node("Relu", "t", "idle"),
        node("Relu", "c", "idle_on_erased"),
        node("Sigmoid", "a", "y"),
    ]
    weights = {f"w{i}": (3, 3, 1, 1) for i in range(3)} | {f"b{i}": (3,) for i in range(3)}
    weights["never_used"] = (2,)
    model = build({"x": ["n", 3, 2, 2]}, {"y": ["n", 3, 2, 2]}, nodes, weights)
    whole = analysis(model, removed_nodes=["n_c", "n_m"], splices={"a": "t"})

    cut = shrink(whole, whole.solution)

    assert operators(cut) == ["Conv", "Relu", "Sigmoid"]  # the idle Relu was idle before
    assert set(values(cut)) == {"w0", "b0", "never_used"}


def two_equal_biases() -> bytes:
    """One bias in the slots of two Adds: the exporter merged what is equal."""
    nodes = [
        node("MatMul", "x m", "a"),
        node("Add", "a b", "c"),
        node("MatMul", "c m", "d"),
        node("Add", "d b", "y"),
    ]
    weights = {"m": np.eye(4, dtype=np.float32), "b": np.ones(4, np.float32)}
    model = build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, weights)
    return bytes(model.SerializeToString())


def test_copies_that_are_still_equal_share_a_tensor_again() -> None:
    found = analyze(load_model(two_equal_biases()))
    result = shrink(found, Solution.of(found.space, {}))
    assert [tensor.name for tensor in result.graph.initializer] == ["m", "b"]
    assert [entry.input[1] for entry in result.graph.node] == ["m", "b", "m", "b"]
    assert found.space.model.parameters == 20


def test_copies_that_training_has_told_apart_stay_apart() -> None:
    found = analyze(load_model(two_equal_biases()))
    trained = {"b__2": np.zeros(4, np.float32)}
    result = shrink(found, Solution.of(found.space, {}), trained)
    assert {tensor.name for tensor in result.graph.initializer} == {"m", "b", "b__2"}
    assert values(result)["b__2"].tolist() == [0.0] * 4


def test_copies_cut_to_one_element_stay_apart() -> None:
    """Loading parts vectors only; a shared scalar would tie what was independent."""
    draft = Draft(
        model=onnx.ModelProto(),
        nodes=[node("Add", "x b", "c"), node("Add", "c b__2", "y")],
        initializers={
            name: numpy_helper.from_array(np.ones(1, np.float32), name) for name in ("b", "b__2")
        },
        keep={},
        shapes={},
        shapes_before={},
        origin={},
    )
    share_equal(draft, {"b__2": "b"})
    assert list(draft.initializers) == ["b", "b__2"]
    assert draft.nodes[1].input[1] == "b__2"
