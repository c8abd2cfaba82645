"""A small network over images, without statistics over the batch, bound to its search space."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graph_analysis import analyze, load_model
from graph_analysis.pipeline import Analysis
from optimizer.bridge.binding import Binding, bind
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.trainer import ArrayData, Arrays

CLASSES, CHANNELS, SIDE = 3, 8, 6


def network(seed: int = 0) -> onnx.ModelProto:
    """conv, relu, conv, relu, global mean, linear: 1 x 6 x 6 images in three classes."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        scale = (2 / max(1, int(np.prod(shape[1:])))) ** 0.5 if len(shape) > 1 else 0.01
        array = rng.normal(0, scale, shape).astype(np.float32)
        return numpy_helper.from_array(array, name)

    nodes = [
        helper.make_node("Conv", ["x", "one.weight", "one.bias"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "two.weight", "two.bias"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "out.weight", "out.bias"], ["y"], transB=1),
    ]
    weights = [
        weight("one.weight", CHANNELS, 1, 3, 3),
        weight("one.bias", CHANNELS),
        weight("two.weight", CHANNELS, CHANNELS, 3, 3),
        weight("two.bias", CHANNELS),
        weight("out.weight", CLASSES, CHANNELS),
        weight("out.bias", CLASSES),
    ]
    shape = ["N", 1, SIDE, SIDE]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])]
    graph = helper.make_graph(nodes, "images", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def bound(model: onnx.ModelProto, folder: Path) -> tuple[Analysis, ImportedModule, Binding]:
    """Analysed, imported and bound."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    analysis = analyze(load_model(path))
    imported = import_model(analysis.maskable())
    return analysis, imported, bind(analysis, imported)


def pictures(count: int, *, seed: int) -> Arrays:
    """Stripes along rows, stripes along columns, or neither; with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    stripes = np.where(np.arange(SIDE) % 2, 1.0, -1.0)
    rows = np.broadcast_to(stripes[:, None], (SIDE, SIDE))
    patterns = np.stack([rows, rows.T, np.zeros((SIDE, SIDE))])
    x = patterns[labels] + rng.normal(0, 0.5, (count, SIDE, SIDE))
    return Arrays(inputs={"x": x[:, None].astype(np.float32)}, labels=labels)


def data() -> ArrayData:
    return ArrayData(train=pictures(128, seed=1), validation=pictures(96, seed=2))
