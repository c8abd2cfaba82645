"""A small network in double precision, in which a wrong share of a gradient cannot hide."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = dict[str, np.ndarray]
NUM_CLASSES = 4


def network(
    *, normalised: bool, dropout: float = 0.0, seeded: bool = True, unused: bool = False
) -> onnx.ModelProto:
    """conv - norm - relu - (conv - norm - relu - conv) + skip - pool - head, in double precision.

    Args:
        normalised: With BatchNormalization behind each convolution.
        dropout: Before the head.
        seeded: Whether the file gives it a seed of its own.
        unused: With a second output that the loss does not look at, and a weight of its own.
    """
    rng = np.random.default_rng(3)
    weights: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def layer(name: str, x: str, wide: int, out: int) -> str:
        weights[f"{name}.w"] = rng.normal(0, (2 / (9 * wide)) ** 0.5, (out, wide, 3, 3))
        weights[f"{name}.b"] = rng.normal(0, 0.1, out)
        inputs = [x, f"{name}.w", f"{name}.b"]
        nodes.append(helper.make_node("Conv", inputs, [name], pads=[1] * 4, name=name))
        if not normalised:
            return name
        for part, values in (
            ("scale", rng.uniform(0.5, 1.5, out)),
            ("shift", rng.normal(0, 0.1, out)),
            ("mean", rng.normal(0, 0.1, out)),
            ("var", rng.uniform(0.5, 1.5, out)),
        ):
            weights[f"{name}.{part}"] = values
        tensors = [name, *(f"{name}.{part}" for part in ("scale", "shift", "mean", "var"))]
        nodes.append(helper.make_node("BatchNormalization", tensors, [f"{name}.n"]))
        return f"{name}.n"

    def relu(x: str) -> str:
        nodes.append(helper.make_node("Relu", [x], [f"{x}.r"]))
        return f"{x}.r"

    stem = relu(layer("stem", "x", 2, 8))
    inner = layer("out", relu(layer("in", stem, 8, 6)), 6, 8)
    nodes.append(helper.make_node("Add", [stem, inner], ["sum"]))
    nodes.append(helper.make_node("GlobalAveragePool", [relu("sum")], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    last = "flat"
    if dropout:
        weights["ratio"] = np.array(dropout)
        own = {"seed": 5} if seeded else {}
        nodes.append(helper.make_node("Dropout", ["flat", "ratio"], ["kept"], **own))
        last = "kept"
    weights["head.w"], weights["head.b"] = rng.normal(0, 0.4, (8, 4)), rng.normal(0, 0.1, 4)
    nodes.append(helper.make_node("Gemm", [last, "head.w", "head.b"], ["y"]))
    outputs = ["y"]
    if unused:
        weights["aside.w"] = rng.normal(0, 0.4, (8, 3))
        nodes.append(helper.make_node("MatMul", ["flat", "aside.w"], ["z"]))
        nodes.append(helper.make_node("ArgMax", ["z"], ["number"], axis=1))
        outputs.append("number")
    return _model(nodes, weights, outputs, "n")


def _model(
    nodes: list[onnx.NodeProto], weights: Weights, outputs: list[str], batch: str | int
) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [batch, 2, 4, 4])
    types = {"y": TensorProto.DOUBLE, "number": TensorProto.INT64}
    shapes = {"y": [batch, NUM_CLASSES], "number": [batch, 1]}
    infos = [helper.make_tensor_value_info(name, types[name], shapes[name]) for name in outputs]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "network", [x], infos, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
