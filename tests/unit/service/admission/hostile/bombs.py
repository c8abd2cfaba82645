"""Small files that crash native code or expand to gigabytes."""

import onnx
from onnx import helper

from tests.unit.service.admission import models as m
from tests.unit.service.admission.hostile.registry import add, case, field, relu


# Native crashers: caught by the rules before native code sees them, plain and inside a body.
def _slicing(target: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Slice", ["x", "k", "k"], [target], name="slice")]


@case("model-dim-negative")
def _slice_of_negative_dim() -> onnx.ModelProto:
    return m.model(_slicing("y"), inputs=[m.value("x", (-1,))], initializers=[m.integers("k", 0)])


@case("model-dim-negative")
def _slice_of_negative_dim_in_body() -> onnx.ModelProto:
    made = m.branching(
        m.if_body("t", *_slicing("a"), output="a"), m.if_body("e", relu("x", "b"), output="b")
    )
    made.graph.initializer.append(m.integers("k", 0))
    made.graph.node[0].attribute[0].g.value_info.append(m.value("a", (-1,)))
    return made


@case("model-missing-output")
def _split_without_name_in_body() -> onnx.ModelProto:
    split = helper.make_node("Split", ["x"], ["", "a"], name="s", axis=1, num_outputs=2)
    made = m.branching(
        m.if_body("t", split, output="a"), m.if_body("e", relu("x", "b"), output="b")
    )
    made.opset_import[0].version = 18
    return made


# Bombs: small files that expand.
add("model-too-complex", "nodes_20001", lambda: m.model(m.chain(*["Relu"] * 20_001)))
add(
    "model-too-complex",
    "empty_nodes_a_megabyte",
    lambda: b"\x08\x0a" + field(7, b"\x0a\x00" * 410_000),
)
add(
    "model-too-complex",
    "varints_two_megabytes",
    lambda: b"\x08\x0a" + field(7, field(5, field(7, b"\x01" * 2_000_000))),
)


@case("model-activation-too-large")
def _expand_bomb() -> onnx.ModelProto:
    return m.model(
        [helper.make_node("Expand", ["x", "k"], ["y"], name="e")],
        inputs=[m.value("x", (1, 1))],
        initializers=[m.integers("k", 2**17, 2**17)],
    )


@case("model-activation-too-large")
def _constant_bomb() -> onnx.ModelProto:
    return m.model(
        [
            helper.make_node("ConstantOfShape", ["k"], ["h"], name="k"),
            helper.make_node("Add", ["h", "x"], ["y"], name="a"),
        ],
        initializers=[m.integers("k", 2**40, 1)],
    )


@case("model-activation-too-large")
def _pad_bomb() -> onnx.ModelProto:
    return m.model(
        [helper.make_node("Pad", ["x", "k"], ["y"], name="p")],
        inputs=[m.value("x", (1, 1))],
        initializers=[m.integers("k", 0, 0, 0, 2**36)],
    )


@case("model-activation-too-large")
def _concat_doubling() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Concat", [f"h{i}", f"h{i}"], [f"h{i + 1}"], axis=1) for i in range(40)
    ]
    return m.model([relu("x", "h0"), *nodes, relu("h40", "y")], inputs=[m.value("x", (1, 4))])


@case("model-activation-too-large")
def _many_large_matmuls() -> onnx.ModelProto:
    nodes = [helper.make_node("ConstantOfShape", ["k"], ["h0"])]
    nodes += [helper.make_node("MatMul", ["h0", f"h{i}"], [f"h{i + 1}"]) for i in range(30)]
    return m.model(
        [*nodes, helper.make_node("Add", ["h30", "x"], ["y"])],
        inputs=[m.value("x", (1,))],
        initializers=[m.integers("k", 12_000, 12_000)],
    )


@case("model-activation-too-large")
def _expand_bomb_in_body() -> onnx.ModelProto:
    bomb = helper.make_node("Expand", ["x", "k"], ["a"], name="e")
    other = helper.make_node("Expand", ["x", "k"], ["b"], name="f")
    made = m.branching(m.if_body("t", bomb, output="a"), m.if_body("e", other, output="b"))
    made.graph.input[1].CopyFrom(m.value("x", (1, 1)))
    for attribute in made.graph.node[0].attribute:
        attribute.g.initializer.append(m.integers("k", 2**17, 2**17))
    return made


@case("model-shape-mismatch")
def _matmul_does_not_fit() -> onnx.ModelProto:
    return m.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        inputs=[m.value("x", (4, 5))],
        initializers=[m.weight("w", 6, 7)],
    )


@case("model-shape-mismatch")
def _types_do_not_fit() -> onnx.ModelProto:
    return m.model(
        [helper.make_node("Add", ["x", "k"], ["y"], name="sum")],
        initializers=[m.integers("k", 1, 2, 3, 4)],
    )


@case("model-rank")
def _rank_grows_inside() -> onnx.ModelProto:
    axes = m.integers("axes", *range(7))
    return m.model(
        [helper.make_node("Unsqueeze", ["x", "axes"], ["y"], name="u")], initializers=[axes]
    )
