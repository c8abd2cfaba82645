"""Dropout passes channels on, unless the file drops when it is deployed too."""

import numpy as np
import onnx
import pytest

from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.testing.builder import GraphBuilder


def dropping(ratio: float, training: bool | None) -> onnx.ModelProto:
    graph = GraphBuilder("dropping")
    x = graph.input((1, 3, 8, 8))
    made = graph.conv(x, 3, 16)
    inputs = [made, graph.constant(np.float32(ratio), name="ratio")]
    if training is not None:
        inputs.append(graph.integers(training, dtype="bool", name="training"))
    y = graph.conv(graph.node("Dropout", *inputs), 16, 4)
    graph.output(y, (1, 4, 8, 8))
    return graph.build()


@pytest.mark.parametrize(
    ("ratio", "training", "goes"),
    [
        (0.5, None, True),
        (0.5, False, True),
        (0.0, True, True),
        (0.5, True, False),
    ],
)
def test_channels_behind_a_dropout(ratio: float, training: bool | None, goes: bool) -> None:
    analysis = analyze(load_model(dropping(ratio, training).SerializeToString()))
    assert any(group.units == 16 for group in analysis.space.groups) is goes
    reasons = {entry.reason for entry in analysis.space.frozen}
    assert any("drops at random" in reason for reason in reasons) is not goes
