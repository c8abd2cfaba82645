"""Hard cases about the convolution itself (groups, dimensions, transposed) and its way out."""

import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)


def depthwise_conv() -> onnx.ModelProto:
    """1x1, depthwise 3x3, normalisation, ReLU6, 1x1: 32 across all, the group attribute too."""
    graph = GraphBuilder("depthwise_conv", seed=20)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32, kernel=1))
    y = graph.conv_norm(y, 32, 32, groups=32)
    y = graph.node("Clip", y, graph.constant(0.0), graph.constant(6.0))
    graph.classify(graph.relu(graph.conv(y, 32, 24, kernel=1)), 24)
    return graph.build()


def grouped_conv() -> onnx.ModelProto:
    """32 channels into 64 by four groups: equal counts per group, or whole groups."""
    graph = GraphBuilder("grouped_conv", seed=21)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    y = graph.relu(graph.conv(y, 32, 64, groups=4))
    graph.classify(graph.relu(graph.conv(y, 64, 24)), 24)
    return graph.build()


def depth_multiplier_conv() -> onnx.ModelProto:
    """A depthwise convolution that makes two channels of each of its 16."""
    graph = GraphBuilder("depth_multiplier_conv", seed=22)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    y = graph.relu(graph.conv(y, 16, 32, groups=16))
    graph.classify(graph.relu(graph.conv(y, 32, 24, kernel=1)), 24)
    return graph.build()


def conv1d() -> onnx.ModelProto:
    """Conv1d 32, normalisation, Conv1d 24."""
    graph = GraphBuilder("conv1d", seed=23)
    y = graph.conv(graph.input((BATCH, 3, 32)), 3, 32, dims=1, bias=False)
    y = graph.relu(graph.batch_norm(y, 32))
    graph.classify(graph.relu(graph.conv(y, 32, 24, dims=1)), 24)
    return graph.build()


def conv3d() -> onnx.ModelProto:
    """Conv3d 32, normalisation, Conv3d 24."""
    graph = GraphBuilder("conv3d", seed=24)
    y = graph.conv(graph.input((BATCH, 3, 4, 8, 8)), 3, 32, dims=3, bias=False)
    y = graph.relu(graph.batch_norm(y, 32))
    graph.classify(graph.relu(graph.conv(y, 32, 24, dims=3)), 24)
    return graph.build()


def conv_transpose() -> onnx.ModelProto:
    """Strided convolution 32, transposed one 24 (weights laid out [in, out]), dense output."""
    graph = GraphBuilder("conv_transpose", seed=25)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32, stride=2))
    y = graph.relu(graph.batch_norm(graph.conv_transpose(y, 32, 24), 24))
    y = graph.relu(graph.conv(y, 24, 16))
    graph.output(graph.conv(y, 16, 2, kernel=1), (BATCH, 2, 16, 16))
    return graph.build()


def conv_transpose_grouped() -> onnx.ModelProto:
    """Depthwise transposed convolution over 32 channels, dense output."""
    graph = GraphBuilder("conv_transpose_grouped", seed=26)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32, stride=2))
    y = graph.relu(graph.conv_transpose(y, 32, 32, groups=32))
    graph.output(graph.conv(y, 32, 2), (BATCH, 2, 16, 16))
    return graph.build()


def flatten_fc() -> onnx.ModelProto:
    """16 channels pooled to 4x4, Flatten, linear 256 -> 64: 16 columns per channel."""
    graph = GraphBuilder("flatten_fc", seed=27)
    y = graph.node("Flatten", _pooled_to_4x4(graph))
    graph.output(graph.gemm(graph.relu(graph.gemm(y, 256, 64)), 64, 10), (BATCH, 10))
    return graph.build()


def view_minus1_fc() -> onnx.ModelProto:
    """The same by a Reshape with a constant 256, which has to follow the cut."""
    graph = GraphBuilder("view_minus1_fc", seed=28)
    y = graph.reshape(_pooled_to_4x4(graph), [-1, 256])
    graph.output(graph.gemm(graph.relu(graph.gemm(y, 256, 64)), 64, 10), (BATCH, 10))
    return graph.build()


def _pooled_to_4x4(graph: GraphBuilder) -> str:
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    return graph.node("MaxPool", y, kernel_shape=[4, 4], strides=[4, 4])


CASES = (
    depthwise_conv,
    grouped_conv,
    depth_multiplier_conv,
    conv1d,
    conv3d,
    conv_transpose,
    conv_transpose_grouped,
    flatten_fc,
    view_minus1_fc,
)
