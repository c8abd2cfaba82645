import math

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from graph_analysis.testing import BATCH, GraphBuilder
from optimizer.trainer.soundness import Soundness
from tests.unit.optimizer.trainer import test_cutting
from tests.unit.optimizer.trainer.test_cutting import Run


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))
        self.register_buffer("mean", torch.zeros(2))


@pytest.mark.parametrize("path", ["weight", "mask", "mean"])
def test_nan_is_never_sound(path: str) -> None:
    module = Attention()
    soundness = Soundness(module, {"weight", "mask", "mean"})
    assert soundness.holds()
    with torch.no_grad():
        module.state_dict()[path][0] = math.nan
    assert not soundness.holds()


def test_infinity_is_sound_where_it_was_in_the_file() -> None:
    module = Attention()
    soundness = Soundness(module, {"weight", "mask"})
    module.register_buffer("only_cut", torch.tensor([-math.inf]))
    assert soundness.holds()
    with torch.no_grad():
        module.weight[0] = math.inf
    assert not soundness.holds()


def causal() -> onnx.ModelProto:
    """linear, relu, linear, attention of the past alone, mean, linear."""
    graph = GraphBuilder("causal", seed=3)
    y = graph.linear(graph.relu(graph.linear(graph.input((BATCH, 4, 8)), 8, 12)), 12, 8)
    scores = graph.node("MatMul", y, graph.transpose(y, (0, 2, 1)))
    future = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    weights = graph.node("Softmax", graph.node("Add", scores, graph.constant(future)), axis=-1)
    y = graph.node("ReduceMean", graph.node("MatMul", weights, y), axes=[1], keepdims=0)
    graph.output(graph.gemm(y, 8, 5), (BATCH, 5))
    return graph.build()


def test_a_network_with_a_mask_of_infinities_is_no_reason_to_go_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(test_cutting.NETWORKS, "causal", causal)
    run = Run("causal", ema_decay=0.9)
    assert run.codes == ["cut", "cut"]
    assert run.result.restarts == 0
