"""Operators that work along axes of their own: channels beside them are cut, those axes stay."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from graph_analysis.pipeline import Analysis
from graph_analysis.testing.builder import BATCH, GraphBuilder
from tests.integration.golden import analysis_of, random_solution
from tests.integration.test_masked_equals_cut import check

IMAGE = (BATCH, 3, 8, 8)
Layer = Callable[[GraphBuilder, str], str]


def _grid(graph: GraphBuilder, x: str) -> str:
    places = graph.node("Tanh", graph.input((BATCH, 6, 6, 2), "grid"))
    return graph.node("GridSample", x, places)


def _regions(graph: GraphBuilder, x: str) -> str:
    boxes = graph.constant(np.float32([[0, 0, 5, 5], [1, 1, 7, 6]]))
    indices = graph.constant([0, 0])
    return graph.node("RoiAlign", x, boxes, indices, output_height=3, output_width=3)


LAYERS: dict[str, Layer] = {
    "CastLike": lambda graph, x: graph.node("CastLike", x, graph.constant(np.float32(1))),
    "CumSum": lambda graph, x: graph.node("CumSum", x, graph.constant(2)),
    "GridSample": _grid,
    "RoiAlign": _regions,
    "TopK": lambda graph, x: graph.nodes("TopK", x, graph.constant([3]), outputs=2, axis=3)[0],
    "Trilu": lambda graph, x: graph.node("Trilu", x),
}
OVER_CHANNELS: dict[str, Layer] = {
    "CumSum": lambda graph, x: graph.node("CumSum", x, graph.constant(1)),
    "TopK": lambda graph, x: graph.nodes("TopK", x, graph.constant([16]), outputs=2, axis=1)[0],
}


def network(layer: Layer) -> onnx.ModelProto:
    graph = GraphBuilder("network", seed=3)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    graph.classify(graph.relu(graph.conv(layer(graph, y), 16, 12)), 12)
    return graph.build()


def channels(analysis: Analysis) -> list[int]:
    return sorted(group.units for group in analysis.space.groups)


@pytest.mark.parametrize("name", LAYERS)
def test_channels_beside_the_axis_are_cut(name: str) -> None:
    analysis = analysis_of(network(LAYERS[name]))
    assert channels(analysis) == [12, 16]
    for seed in range(3):
        check(analysis, random_solution(analysis, seed))


@pytest.mark.parametrize("name", OVER_CHANNELS)
def test_channels_that_are_worked_along_stay(name: str) -> None:
    analysis = analysis_of(network(OVER_CHANNELS[name]))
    assert channels(analysis) == [12]
    assert any("works along it" in entry.reason for entry in analysis.space.frozen)


def test_contrib_pairs_of_sixteen_bits_are_cut_along() -> None:
    """ONNX Runtime's quantiser writes 16-bit steps with operators of its own domain."""
    graph = GraphBuilder("sixteen_bits", seed=4)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    scale, zero = graph.constant(np.float32(2**-10)), graph.integers(3000, dtype="uint16")
    y = graph.node("QuantizeLinear", y, scale, zero, domain="com.microsoft")
    y = graph.node("DequantizeLinear", y, scale, zero, domain="com.microsoft")
    graph.classify(graph.relu(graph.conv(y, 16, 12)), 12)
    analysis = analysis_of(graph.build())
    assert channels(analysis) == [12, 16]
    for seed in range(3):
        check(analysis, random_solution(analysis, seed))
