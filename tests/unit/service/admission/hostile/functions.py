"""Local functions and bodies: recursive, exploding, malformed."""

import onnx
from onnx import helper

from tests.unit.service.admission import models as m
from tests.unit.service.admission.hostile.registry import Maker, add, case, relu


# Local functions.
def _doubling(depth: int) -> Maker:
    def make() -> onnx.ModelProto:
        functions = [m.function(f"f{i}", [f"f{i + 1}"] * 2) for i in range(depth)]
        return m.calling(*functions, m.function(f"f{depth}", []), callee="f0")

    return make


for _depth in (16, 20, 40):
    add("model-functions", f"functions_doubling_{_depth}", _doubling(_depth))
add(
    "model-functions",
    "function_recursive",
    lambda: m.calling(m.function("f0", ["f0"]), callee="f0"),
)
add(
    "model-functions",
    "functions_mutual",
    lambda: m.calling(m.function("f0", ["f1"]), m.function("f1", ["f0"]), callee="f0"),
)
add(
    "model-functions",
    "functions_recursive_unused",
    lambda: m.calling(m.function("f0", []), m.function("f1", ["f1"]), callee="f0"),
)
add(
    "model-functions",
    "functions_chain_3000",
    lambda: m.calling(
        *[m.function(f"f{i}", [f"f{i + 1}"]) for i in range(3000)],
        m.function("f3000", []),
        callee="f0",
    ),
)
add("model-functions", "function_undefined", lambda: m.calling(m.function("f0", []), callee="g"))
add(
    "model-duplicate-name",
    "function_twice",
    lambda: m.calling(m.function("f0", []), m.function("f0", []), callee="f0"),
)
add(
    "model-opset",
    "function_opset_999",
    lambda: m.calling(m.function("f0", [], opset=999), callee="f0"),
)
add(
    "model-unsupported-op",
    "function_with_unknown_operator",
    lambda: m.calling(m.function("f0", [], op_type="Foo"), callee="f0"),
)


@case("model-functions")
def _function_in_default_domain() -> onnx.ModelProto:
    made = m.calling(m.function("f0", []), callee="f0")
    made.functions[0].domain = ""
    made.graph.node[0].domain = ""
    return made


# Bodies.
def _nested(depth: int) -> Maker:
    def make() -> onnx.ModelProto:
        body = m.if_body("b", relu("x", f"o{depth}"), output=f"o{depth}")
        for level in reversed(range(depth)):
            inner = helper.make_node("If", ["c"], [f"o{level}"], then_branch=body, else_branch=body)
            body = m.if_body("b", inner, output=f"o{level}")
            if level < depth - 3:  # both branches below would double the file each time
                inner.attribute[1].g.CopyFrom(m.if_body("e", relu("x", "e"), output="e"))
                body.node[0].CopyFrom(inner)
        return m.branching(body, m.if_body("e", relu("x", "e"), output="e"))

    return make


add("model-too-deep", "if_nested_20", _nested(20))


@case("model-functions")
def _function_without_nodes() -> onnx.ModelProto:
    made = m.calling(m.function("f0", []), callee="f0")
    made.functions[0].ClearField("node")
    return made


@case("model-duplicate-name")
def _function_input_twice() -> onnx.ModelProto:
    made = m.calling(m.function("f0", []), callee="f0")
    made.functions[0].input.append("a")
    return made


@case("model-subgraph")
def _if_body_with_inputs() -> onnx.ModelProto:
    body = m.if_body("t", relu("x", "a"), output="a")
    body.input.append(m.value("q", (1,)))
    return m.branching(body, m.if_body("e", relu("x", "b"), output="b"))


@case("model-subgraph")
def _if_body_with_two_outputs() -> onnx.ModelProto:
    body = m.if_body("t", relu("x", "a"), output="a")
    body.output.append(m.value("c", None))
    return m.branching(body, m.if_body("e", relu("x", "b"), output="b"))


@case("model-subgraph")
def _scan_body_with_two_inputs() -> onnx.ModelProto:
    made = m.scanning([relu("s", "t")])
    made.graph.node[0].attribute[0].g.input.append(m.value("q", (4,)))
    return made


@case("model-subgraph")
def _scan_body_with_two_outputs() -> onnx.ModelProto:
    made = m.scanning([relu("s", "t")])
    made.graph.node[0].attribute[0].g.output.append(m.value("s", (4,)))
    return made


add(
    "model-subgraph",
    "if_without_else",
    lambda: m.branching(m.if_body("t", relu("x", "a"), output="a"), None),
)
add(
    "model-duplicate-name",
    "body_redefines_outer_name",
    lambda: m.branching(
        m.if_body("t", relu("c", "x"), output="x"), m.if_body("e", relu("x", "b"), output="b")
    ),
)
add(
    "model-not-sorted",
    "body_uses_later_name",
    lambda: m.branching(
        m.if_body("t", relu("y", "a"), output="a"), m.if_body("e", relu("x", "b"), output="b")
    ),
)
add(
    "model-output-missing",
    "body_output_not_produced",
    lambda: m.branching(
        m.if_body("t", relu("x", "a"), output="zzz"), m.if_body("e", relu("x", "b"), output="b")
    ),
)
add(
    "model-unsupported-op",
    "body_with_unknown_operator",
    lambda: m.branching(
        m.if_body("t", helper.make_node("Foo", ["x"], ["a"]), output="a"),
        m.if_body("e", relu("x", "b"), output="b"),
    ),
)
add(
    "model-subgraph",
    "loop_body_with_too_few_outputs",
    lambda: m.looping([relu("s", "t")], body_outputs=1),
)
add(
    "model-subgraph",
    "loop_body_with_too_few_inputs",
    lambda: m.looping([relu("x", "t")], body_inputs=2),
)
add(
    "model-subgraph",
    "scan_without_inputs",
    lambda: m.model(
        [
            helper.make_node(
                "Scan",
                ["x"],
                ["y"],
                name="scan",
                num_scan_inputs=0,
                body=m.if_body("b", relu("x", "a"), output="a"),
            )
        ]
    ),
)
add(
    "model-subgraph",
    "body_of_a_relu",
    lambda: m.model(
        [
            helper.make_node(
                "Relu", ["x"], ["y"], name="r", body=m.if_body("b", relu("x", "a"), output="a")
            )
        ]
    ),
)


@case("model-subgraph")
def _loop_with_large_body() -> onnx.ModelProto:
    return m.looping(m.chain(*["Relu"] * 20_001, source="s", target="t"))
