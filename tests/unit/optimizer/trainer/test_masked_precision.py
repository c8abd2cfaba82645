"""Sixteen bits where a normalisation is in its masked form: no further from exact than without."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from optimizer.bridge.module import import_model
from tests.unit.optimizer.trainer.images import bound

WIDTH = 32


def network() -> onnx.ModelProto:
    """Two residual blocks with layer normalisation in front of a product."""
    rng = np.random.default_rng(0)
    weights, nodes, here = [], [], "x"

    def weight(name: str, *shape: int, around: float = 0.0) -> str:
        array = around + rng.normal(0, shape[0] ** -0.5 if len(shape) > 1 else 0.1, shape)
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    nodes.append(helper.make_node("MatMul", ["x", weight("in", 16, WIDTH)], ["h"]))
    here = "h"
    for at in range(2):
        scale, shift = weight(f"scale{at}", WIDTH, around=1.0), weight(f"shift{at}", WIDTH)
        first, second = weight(f"up{at}", WIDTH, 64), weight(f"down{at}", 64, WIDTH)
        nodes += [
            helper.make_node("LayerNormalization", [here, scale, shift], [f"n{at}"], axis=-1),
            helper.make_node("MatMul", [f"n{at}", first], [f"u{at}"]),
            helper.make_node("Relu", [f"u{at}"], [f"a{at}"]),
            helper.make_node("MatMul", [f"a{at}", second], [f"d{at}"]),
            helper.make_node("Add", [here, f"d{at}"], [f"h{at}"]),
        ]
        here = f"h{at}"
    nodes.append(helper.make_node("MatMul", [here, weight("out", WIDTH, 4)], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(nodes, "normalised", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def error(module: torch.nn.Module, dtype: torch.dtype) -> float:
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = module(x)
        with torch.autocast("cpu", dtype=dtype):
            coarse = module(x)
    return float((coarse.float() - exact).norm() / exact.norm())


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_statistics_are_not_taken_in_sixteen_bits(
    tmp_path: Path, dtype: torch.dtype, most: float
) -> None:
    analysis, masked, _ = bound(network(), tmp_path)
    assert analysis.masks
    plain = error(import_model(network()).module.eval(), dtype)
    assert 0 < plain < most
    assert error(masked.module.eval(), dtype) < 1.5 * plain
