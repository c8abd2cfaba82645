"""Dead nodes and unused weights: what became so goes, what was so stays."""

from onnx import TensorProto, helper

from exporters.cleanup import live_nodes
from exporters.surgeon import shrink
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
