"""Convolutional networks without any normalisation, as exporters leave them."""

import onnx
import torch
from onnx import helper

from tests.unit.optimizer.bridge.onnx_models import Shape, floats, model_of

RGB: Shape = ("n", 3, 8, 8)


def conv(x: str, name: str, y: str, *, op: str = "Conv", bias: bool = True, **attributes: object):
    inputs = [x, f"{name}.w", f"{name}.b"] if bias else [x, f"{name}.w"]
    return helper.make_node(op, inputs, [y], **attributes)


def pads(size: int = 1) -> dict[str, object]:
    return {"pads": [size] * 4}


def folded_network() -> onnx.ModelProto:
    """Every kind of convolution that can carry a normalisation, and the last layer."""
    nodes = [
        conv("x", "plain", "a", **pads()),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "depthwise", "c", group=8, auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        conv("d", "grouped", "e", group=2, pads=[0, 1, 2, 1]),
        helper.make_node("Relu", ["e"], ["f"]),
        conv("f", "up", "g", op="ConvTranspose", group=2, strides=[2, 2]),
        helper.make_node("Relu", ["g"], ["h"]),
        conv("h", "sized", "i", op="ConvTranspose", output_shape=[9, 9]),
        helper.make_node("GlobalAveragePool", ["i"], ["j"]),
        helper.make_node("Flatten", ["j"], ["k"]),
        helper.make_node("Gemm", ["k", "head.w", "head.b"], ["y"]),
    ]
    weights = {
        "plain.w": floats(8, 3, 3, 3, seed=1),
        "plain.b": floats(8, seed=2),
        "depthwise.w": floats(8, 1, 3, 3, seed=3),
        "depthwise.b": floats(8, seed=4),
        "grouped.w": floats(12, 4, 3, 3, seed=5) / 6,
        "grouped.b": floats(12, seed=6),
        "up.w": floats(12, 4, 2, 2, seed=7) / 4,
        "up.b": floats(8, seed=8),
        "sized.w": floats(8, 6, 3, 3, seed=9) / 8,
        "sized.b": floats(6, seed=10),
        "head.w": floats(6, 4, seed=11),
        "head.b": floats(4, seed=12),
    }
    return model_of(nodes, {"x": RGB}, ["y"], weights)


def batches(count: int = 3, *, size: int = 8, seed: int = 20) -> list[list[torch.Tensor]]:
    return [[torch.from_numpy(floats(size, 3, 8, 8, seed=seed + n))] for n in range(count)]


def head(x: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("GlobalAveragePool", [x], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head.w"], ["y"]),
    ]


def removable() -> onnx.ModelProto:
    """conv - relu - conv + skip - relu - depthwise - conv - pool - head, all with biases."""
    nodes = [
        conv("x", "stem", "a", **pads()),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "in", "c", **pads()),
        helper.make_node("Sigmoid", ["c"], ["d"]),
        conv("d", "out", "e", **pads()),
        helper.make_node("Add", ["b", "e"], ["f"]),
        conv("f", "depth", "g", group=8, **pads()),
        helper.make_node("Relu", ["g"], ["h"]),
        conv("h", "up", "i", op="ConvTranspose", group=2, strides=[2, 2]),
        helper.make_node("Relu", ["i"], ["j"]),
        *head("j"),
    ]
    shapes = {
        "stem": (8, 3, 3, 3),
        "in": (6, 8, 3, 3),
        "out": (8, 6, 3, 3),
        "depth": (8, 1, 3, 3),
        "up": (8, 4, 2, 2),
    }
    weights = {"head.w": floats(8, 4, seed=1)}
    for seed, (name, shape) in enumerate(shapes.items(), start=2):
        weights[f"{name}.w"] = floats(*shape, seed=seed) / 4
        weights[f"{name}.b"] = floats(8 if name == "up" else shape[0], seed=seed + 20)
    return model_of(nodes, {"x": RGB}, ["y"], weights)
