"""Hard cases about quantisation: pairs of QuantizeLinear and DequantizeLinear, int8 weights.

All scales are powers of two, so that sums are exact in any order: a step that falls on the other
side of a rounding would hide a wrong cut, or look like one.
"""

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)
CHANNELS = 1  # axis of activations


def fake_quant_qdq() -> onnx.ModelProto:
    """Float weights rounded per channel, activations rounded per tensor."""
    graph = GraphBuilder("fake_quant_qdq", seed=160)
    y = graph.relu(_float_conv(graph, _rounded(graph, graph.input(IMAGE)), 3, 32))
    y = _rounded(graph, y)
    y = graph.relu(_float_conv(graph, y, 32, 24))
    graph.classify(_rounded(graph, y), 24)
    return graph.build()


def qdq_int8_weights() -> onnx.ModelProto:
    """Stored int8 weights with a scale per channel, int32 biases; a residual branch."""
    graph = GraphBuilder("qdq_int8_weights", seed=161)
    trunk = graph.relu(_stored_conv(graph, _rounded(graph, graph.input(IMAGE)), 3, 32))
    trunk = _rounded(graph, trunk)
    inner = _rounded(graph, graph.relu(_stored_conv(graph, trunk, 32, 24)))
    branch = _rounded(graph, _stored_conv(graph, inner, 24, 32))
    graph.classify(graph.relu(graph.node("Add", trunk, branch)), 32)
    return graph.build()


def qdq_uint8_weights() -> onnx.ModelProto:
    """Stored uint8 weights whose zero point is not 0: only their own channels can be silenced."""
    graph = GraphBuilder("qdq_uint8_weights", seed=162)
    y = graph.relu(_stored_conv(graph, graph.input(IMAGE), 3, 16, zero_point=128))
    y = graph.relu(graph.conv(y, 16, 24))
    y = graph.relu(_stored_conv(graph, y, 24, 32, zero_point=128))
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def qdq_norm_over_channel() -> onnx.ModelProto:
    """An L2 norm over rounded channels: 0 is stored as the zero point, and read as 0 again."""
    graph = GraphBuilder("qdq_norm_over_channel", seed=163)
    y = graph.relu(_stored_conv(graph, graph.input(IMAGE), 3, 32))
    y = _rounded(graph, y)
    norm = graph.node("ReduceL2", y, axes=[CHANNELS], keepdims=1)
    norm = graph.node("Clip", norm, graph.constant(1e-6))
    graph.classify(graph.relu(graph.conv(graph.node("Div", y, norm), 32, 24)), 24)
    return graph.build()


def _rounded(graph: GraphBuilder, x: str) -> str:
    """Round an activation to uint8 steps around a zero point, and back."""
    scale, zero = graph.constant(np.float32(2**-5)), graph.integers(np.uint8(110), dtype="uint8")
    return graph.node("DequantizeLinear", graph.node("QuantizeLinear", x, scale, zero), scale, zero)


def _float_conv(graph: GraphBuilder, x: str, channels_in: int, channels_out: int) -> str:
    weight = graph.weight(channels_out, channels_in, 3, 3, scale=(channels_in * 9) ** -0.5)
    scale = _scales(graph, channels_out, 2**-8)
    zero = graph.integers(np.zeros(channels_out), dtype="int8")
    stored = graph.node("QuantizeLinear", weight, scale, zero, axis=0)
    rounded = graph.node("DequantizeLinear", stored, scale, zero, axis=0)
    bias = graph.constant(np.arange(channels_out) % 7 * 0.125 - 0.375)
    return graph.node("Conv", x, rounded, bias, pads=[1] * 4)


def _stored_conv(
    graph: GraphBuilder, x: str, channels_in: int, channels_out: int, *, zero_point: int = 0
) -> str:
    dtype = "uint8" if zero_point else "int8"
    rng = np.random.default_rng(channels_in * channels_out)
    values = np.clip(rng.normal(size=(channels_out, channels_in, 3, 3)) * 40, -127, 127)
    weight = graph.integers(np.round(values) + zero_point, dtype=dtype, name="weight")
    points = [graph.integers(np.full(channels_out, zero_point), dtype=dtype)]
    scale = _scales(graph, channels_out, 2**-8)
    rounded = graph.node("DequantizeLinear", weight, scale, *points, axis=0)
    bias = graph.integers(np.round(rng.normal(size=channels_out) * 500), name="bias")
    bias = graph.node("DequantizeLinear", bias, _scales(graph, channels_out, 2**-12), axis=0)
    return graph.node("Conv", x, rounded, bias, pads=[1] * 4)


def _scales(graph: GraphBuilder, channels: int, largest: float) -> str:
    return graph.constant(largest * 0.5 ** (np.arange(channels) % 3))


CASES = (
    fake_quant_qdq,
    qdq_int8_weights,
    qdq_uint8_weights,
    qdq_norm_over_channel,
)
