"""Hard cases about quantisation: QuantizeLinear and DequantizeLinear, operators on integers.

All scales are powers of two, so that sums are exact in any order: a step that falls on the other
side of a rounding would hide a wrong cut, or look like one.
"""

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)
MICROSOFT = "com.microsoft"
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


def qlinear_convolutions() -> onnx.ModelProto:
    """Operators on stored integers throughout: convolutions, an Add, a Concat, a last Gemm."""
    graph = GraphBuilder("qlinear_convolutions", seed=164)
    scale, zero = _stored_as(graph)
    x = graph.node("QuantizeLinear", graph.input(IMAGE), scale, zero)
    trunk = _qlinear_conv(graph, x, 3, 16)
    inner = _qlinear_conv(graph, trunk, 16, 24)
    added = _qlinear_conv(graph, inner, 24, 16)
    trunk = graph.node(
        "QLinearAdd", trunk, scale, zero, added, scale, zero, scale, zero, domain=MICROSOFT
    )
    deep = _qlinear_conv(graph, trunk, 16, 16, groups=16)
    parts = [deep, scale, zero, _qlinear_conv(graph, trunk, 16, 12), scale, zero]
    y = graph.node("QLinearConcat", scale, zero, *parts, axis=1, domain=MICROSOFT)
    y = graph.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = _qlinear_conv(graph, y, 28, 20)
    y = graph.node("QLinearGlobalAveragePool", y, scale, zero, scale, zero, domain=MICROSOFT)
    weight, fine = _integers(graph, (10, 20)), graph.constant(np.float32(2**-8))
    none = graph.integers(np.int8(0), dtype="int8")
    y = graph.node(
        "QGemm", graph.node("Flatten", y), scale, zero, weight, fine, none, transB=1,
        domain=MICROSOFT,
    )  # fmt: skip
    graph.output(y, (BATCH, 10))
    return graph.build()


def dynamic_ranges() -> onnx.ModelProto:
    """Ranges measured at run time before MatMulInteger and ConvInteger, scaled back to floats."""
    graph = GraphBuilder("dynamic_ranges", seed=165)
    x = graph.input((BATCH, 3, 8, 8))
    for channels_in, channels_out in ((3, 16), (16, 24)):
        weight = _integers(graph, (channels_out, channels_in, 3, 3))
        x = graph.relu(_dynamic(graph, "ConvInteger", x, weight, channels_out, pads=[1] * 4))
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    x = graph.relu(_dynamic(graph, "MatMulInteger", x, _integers(graph, (24, 20)), 20))
    graph.output(_dynamic(graph, "MatMulInteger", x, _integers(graph, (20, 10)), 10), (BATCH, 10))
    return graph.build()


def _dynamic(
    graph: GraphBuilder, op_type: str, x: str, weight: str, made: int, **attributes: object
) -> str:
    stored, scale, zero = graph.nodes("DynamicQuantizeLinear", x, outputs=3)
    y = graph.node(op_type, stored, weight, zero, **attributes)
    y = graph.node("Mul", graph.node("Cast", y, to=onnx.TensorProto.FLOAT), scale)
    axes = (made, 1, 1) if op_type == "ConvInteger" else (made,)
    y = graph.node("Mul", y, graph.weight(*axes, scale=2**-10, shift=2**-7, name="scale"))
    return graph.node("Add", y, graph.weight(*axes, scale=0.5, name="bias"))


def _qlinear_conv(
    graph: GraphBuilder, x: str, channels_in: int, channels_out: int, *, groups: int = 1
) -> str:
    weight = _integers(graph, (channels_out, channels_in // groups, 3, 3))
    zeros = graph.integers(np.zeros(channels_out), dtype="int8")
    fine = _scales(graph, channels_out, 2**-8 if groups == 1 else 2**-6)
    rng = np.random.default_rng(channels_out)
    bias = graph.integers(np.round(rng.normal(size=channels_out) * 500), name="bias")
    stored = _stored_as(graph)
    operands = [x, *stored, weight, fine, zeros, *stored, bias]
    return graph.node("QLinearConv", *operands, pads=[1] * 4, group=groups)


def _stored_as(graph: GraphBuilder) -> tuple[str, str]:
    return graph.constant(np.float32(2**-5)), graph.integers(np.uint8(110), dtype="uint8")


def _integers(graph: GraphBuilder, shape: tuple[int, ...]) -> str:
    values = np.random.default_rng(sum(shape)).normal(size=shape) * 40
    return graph.integers(np.round(np.clip(values, -127, 127)), dtype="int8", name="weight")


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
    qlinear_convolutions,
    dynamic_ranges,
)
