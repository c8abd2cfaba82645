"""Everything without a torch function is named at once, wherever in the graph it is."""

import onnx
import pytest
from onnx import TensorProto, helper

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperator, UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import model_of


def body(*nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "body", [], [info])


def reported(nodes: list[onnx.NodeProto], output: str = "y") -> dict[str, UnsupportedOperator]:
    with pytest.raises(UnsupportedOperatorsError) as caught:
        import_model(model_of(nodes, {"x": ("n", 2), "c": (1,)}, [output], {}))
    return {f"{item.domain}:{item.op_type}:{item.reason}": item for item in caught.value.operators}


def test_nodes_in_bodies_are_named_however_deep() -> None:
    deepest = body(
        helper.make_node("Magic", ["x"], ["d"], name="deep", domain="com.acme"), output="d"
    )
    inner = body(
        helper.make_node("Magic", ["x"], ["i0"], name="inner", domain="com.acme"),
        helper.make_node("If", ["flag"], ["i"], then_branch=deepest, else_branch=deepest),
        output="i",
    )
    other = body(helper.make_node("StringNormalizer", ["x"], ["o"]), output="o")
    nodes = [
        helper.make_node("Cast", ["c"], ["flag"], to=TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["y"], name="if", then_branch=inner, else_branch=other),
        helper.make_node("Spell", ["x"], ["z"], name="after", domain="com.acme"),
    ]
    entries = reported(nodes)
    magic = entries["com.acme:Magic:has no torch function"]
    assert sorted(magic.nodes) == ["deep", "deep__2", "inner"]  # one of them in each branch
    assert magic.opset == 1
    unnamed = entries[":StringNormalizer:has no torch function"]
    assert unnamed.nodes == ("StringNormalizer_in_body",)  # what has no name gets one
    assert entries["com.acme:Spell:has no torch function"].nodes == ("after",)


def test_variants_are_named_beside_unknown_operators() -> None:
    nodes = [
        helper.make_node("Magic", ["x"], ["m", "", "n"], name="m1", domain="com.acme"),
        helper.make_node("Relu", ["m"], ["after"], name="behind what is unknown"),
        helper.make_node("Magic", ["after"], ["m2"], name="m2", domain="com.acme"),
        helper.make_node("Clip", ["x", "", "c"], ["independent"]),
        helper.make_node("Constant", [], ["y"], name="text", value_string="a"),
    ]
    entries = reported(nodes)
    assert entries["com.acme:Magic:has no torch function"].nodes == ("m1", "m2")
    assert [item.nodes for item in entries.values() if item.op_type == "Constant"] == [("text",)]
    assert len(entries) == 2
