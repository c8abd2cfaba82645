"""Hard cases about channels on the move: split, sliced, shuffled, gathered, repeated."""

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)


def split_chunk() -> onnx.ModelProto:
    """C2f: 32 channels in halves; the second half feeds a convolution and the Concat of 48."""
    graph = GraphBuilder("split_chunk", seed=40)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    sizes = graph.constant([16, 16], name="split")
    first, second = graph.nodes("Split", y, sizes, outputs=2, axis=1)
    inner = graph.relu(graph.conv(second, 16, 16))
    joined = graph.node("Concat", first, second, inner, axis=1)
    swish = graph.node("Mul", joined, graph.node("Sigmoid", joined))
    graph.classify(graph.relu(graph.conv(swish, 48, 24, kernel=1)), 24)
    return graph.build()


def slice_channels() -> onnx.ModelProto:
    """[:12] and [12:] of 32 channels into a convolution each, Add."""
    graph = GraphBuilder("slice_channels", seed=41)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    left = graph.conv(graph.slice(y, [1], [0], ends=[12]), 12, 24)
    right = graph.conv(graph.slice(y, [1], [12]), 20, 24)
    graph.classify(graph.relu(graph.node("Add", left, right)), 24)
    return graph.build()


def glu_halving() -> onnx.ModelProto:
    """64 channels halved, one half gates the other: j and 32 + j go together."""
    graph = GraphBuilder("glu_halving", seed=42)
    y = graph.conv(graph.input(IMAGE), 3, 64)
    sizes = graph.constant([32, 32], name="split")
    value, gate = graph.nodes("Split", y, sizes, outputs=2, axis=1)
    y = graph.node("Mul", value, graph.node("Sigmoid", gate))
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def channel_shuffle() -> onnx.ModelProto:
    """Grouped 1x1 (2 groups), Reshape - Transpose - Reshape, 3x3."""
    graph = GraphBuilder("channel_shuffle", seed=43)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    y = graph.relu(graph.conv(y, 32, 32, kernel=1, groups=2))
    y = graph.transpose(graph.reshape(y, [0, 2, 16, 16, 16]), [0, 2, 1, 3, 4])
    y = graph.reshape(y, [0, 32, 16, 16])
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def pixel_shuffle() -> onnx.ModelProto:
    """64 channels to 16 at twice the size, two convolutions, three dense channels."""
    graph = GraphBuilder("pixel_shuffle", seed=44)
    y = graph.relu(graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 64))
    y = graph.node("DepthToSpace", y, blocksize=2, mode="CRD")
    y = graph.relu(graph.conv(y, 16, 24))
    graph.output(graph.conv(y, 24, 3), (BATCH, 3, 16, 16))
    return graph.build()


def focus_space2depth_slice() -> onnx.ModelProto:
    """Four strided slices of 8 channels, concatenated to 32."""
    graph = GraphBuilder("focus_space2depth_slice", seed=45)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 8))
    corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
    parts = [graph.slice(y, [2, 3], corner, steps=[2, 2]) for corner in corners]
    y = graph.node("Concat", *parts, axis=1)
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def repeat_channels() -> onnx.ModelProto:
    """16 channels tiled to 32."""
    graph = GraphBuilder("repeat_channels", seed=46)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    y = graph.node("Tile", y, graph.constant([1, 2, 1, 1], name="repeats"))
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def gather_channel_index_select() -> onnx.ModelProto:
    """A channel permutation by a constant Gather, whose indices have to be renumbered."""
    graph = GraphBuilder("gather_channel_index_select", seed=47)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    order = np.random.default_rng(47).permutation(32)
    y = graph.node("Gather", y, graph.constant(order, name="order"), axis=1)
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def gather_with_axes_of_one() -> onnx.ModelProto:
    """Pooled channels picked by indices of shape (1, 24, 1): a permutation with a repetition."""
    graph = GraphBuilder("gather_with_axes_of_one", seed=49)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 20))
    y = graph.node("Flatten", graph.node("GlobalAveragePool", y))
    order = np.concatenate([np.random.default_rng(49).permutation(20), [3, 7, 11, 19]])
    y = graph.node("Gather", y, graph.constant(order.reshape(1, 24, 1), name="order"), axis=1)
    y = graph.gemm(graph.node("Flatten", y), 24, 16)
    graph.output(graph.gemm(graph.relu(y), 16, 10), (BATCH, 10))
    return graph.build()


def feature_matmul_gram() -> onnx.ModelProto:
    """Gram matrix of 16 channels, Flatten, linear 256 -> 32: a row and a column per channel."""
    graph = GraphBuilder("feature_matmul_gram", seed=48)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    y = graph.reshape(y, [0, 16, -1])
    gram = graph.node("MatMul", y, graph.transpose(y, [0, 2, 1]))
    gram = graph.node("Mul", gram, graph.constant(1 / 256))
    flat = graph.node("Flatten", gram)
    graph.output(graph.gemm(graph.relu(graph.gemm(flat, 256, 32)), 32, 10), (BATCH, 10))
    return graph.build()


CASES = (
    split_chunk,
    slice_channels,
    glu_halving,
    channel_shuffle,
    pixel_shuffle,
    focus_space2depth_slice,
    repeat_channels,
    gather_channel_index_select,
    gather_with_axes_of_one,
    feature_matmul_gram,
)
