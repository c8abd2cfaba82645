"""A small sound classifier, and pieces to build variants of it."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def weight(name: str, *shape: int) -> TensorProto:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def integers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def value(
    name: str, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    initializers: Sequence[TensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    opsets: Sequence[tuple[str, int]] = (("", 17),),
    ir_version: int = 10,
) -> onnx.ModelProto:
    """Nodes map ``x`` of shape (batch, 4) to ``y`` unless told otherwise."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [value("x", ("batch", 4))] if inputs is None else list(inputs),
        [value("y", None)] if outputs is None else list(outputs),
        list(initializers),
    )
    return helper.make_model(
        graph,
        functions=list(functions),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets],
        ir_version=ir_version,
        producer_name="tests",
    )


def chain(*op_types: str, source: str = "x", target: str = "y") -> list[onnx.NodeProto]:
    """Operators with one input and one output, one after the other."""
    names = [source, *(f"{target}_{index}" for index in range(len(op_types) - 1)), target]
    return [
        helper.make_node(op_type, [names[index]], [names[index + 1]], name=f"{target}_n{index}")
        for index, op_type in enumerate(op_types)
    ]


def classifier() -> onnx.ModelProto:
    """Conv, Relu, pooling, Gemm; a free batch axis, ten classes."""
    return model(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "v"], ["y"], name="gemm"),
        ],
        inputs=[value("x", ("batch", 3, 8, 8))],
        outputs=[value("y", ("batch", 10))],
        initializers=[weight("w", 8, 3, 3, 3), weight("b", 8), weight("v", 8, 10)],
    )


def if_body(name: str, *nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [value(output, None)])


def branching(then: onnx.GraphProto, otherwise: onnx.GraphProto | None) -> onnx.ModelProto:
    """If(c) with the given branches; its output is ``y``."""
    branches = {"then_branch": then} | ({} if otherwise is None else {"else_branch": otherwise})
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    node = helper.make_node("If", ["c"], ["y"], name="if", **branches)
    return model([node], inputs=[condition, value("x", (2, 4))])


def looping(
    nodes: Sequence[onnx.NodeProto],
    *,
    body_inputs: int = 3,
    body_outputs: int = 2,
    trips: int = 4,
) -> onnx.ModelProto:
    """Loop that carries ``x``; the body gets (i, c, s) and yields (c, t)."""
    inputs = [
        value("i", [], TensorProto.INT64),
        value("c", [], TensorProto.BOOL),
        value("s", (2, 4)),
    ][:body_inputs]
    outputs = [value("d", [], TensorProto.BOOL), value("t", (2, 4))][:body_outputs]
    keep = helper.make_node("Identity", ["c"], ["d"], name="keep")
    body = helper.make_graph([keep, *nodes], "body", inputs, outputs)
    loop = helper.make_node("Loop", ["m", "", "x"], ["y"], name="loop", body=body)
    return model([loop], inputs=[value("x", (2, 4))], initializers=[integers_scalar("m", trips)])


def scanning(nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """Scan over the rows of ``x``; the body gets ``s`` and yields ``t``."""
    body = helper.make_graph(list(nodes), "body", [value("s", (4,))], [value("t", (4,))])
    scan = helper.make_node("Scan", ["x"], ["y"], name="scan", body=body, num_scan_inputs=1)
    return model([scan], inputs=[value("x", (2, 4))])


def integers_scalar(name: str, number: int) -> TensorProto:
    return numpy_helper.from_array(np.array(number, np.int64), name)


def function(
    name: str, calls: Sequence[str], *, opset: int = 17, op_type: str = "Relu"
) -> onnx.FunctionProto:
    """A function of domain ``f`` that calls others of it, one after the other."""
    names = ["a", *(f"h{index}" for index in range(len(calls)))]
    nodes = [
        helper.make_node(
            callee, [names[index]], [names[index + 1]], domain="f", name=f"call{index}"
        )
        for index, callee in enumerate(calls)
    ]
    nodes.append(helper.make_node(op_type, [names[-1]], ["z"], name="last"))
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], ["z"], nodes, imports)


def calling(*functions: onnx.FunctionProto, callee: str) -> onnx.ModelProto:
    """A model whose only node calls a function."""
    node = helper.make_node(callee, ["x"], ["y"], domain="f", name="call")
    return model(
        [node], outputs=[value("y", ("batch", 4))], functions=functions,
        opsets=[("", 17), ("f", 1)],
    )  # fmt: skip
