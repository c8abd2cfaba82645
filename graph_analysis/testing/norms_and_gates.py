"""Hard cases about normalisation over the cut axis, gates that multiply, and layer scales."""

import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)


def groupnorm() -> onnx.ModelProto:
    """GroupNorm as torch exports it below opset 21: InstanceNormalization between Reshapes."""
    graph = GraphBuilder("groupnorm", seed=60)
    y = graph.conv(graph.input(IMAGE), 3, 32)
    ones, zeros = graph.constant([1.0] * 8), graph.constant([0.0] * 8)
    z = graph.node("InstanceNormalization", graph.reshape(y, [0, 8, -1]), ones, zeros)
    z = graph.node("Reshape", z, graph.node("Shape", y))
    z = graph.node("Mul", z, graph.weight(32, 1, 1, scale=0.2, shift=1.0, name="scale"))
    z = graph.node("Add", z, graph.weight(32, 1, 1, scale=0.3, name="shift"))
    graph.classify(graph.relu(graph.conv(graph.relu(z), 32, 24)), 24)
    return graph.build()


def groupnorm_operator() -> onnx.ModelProto:
    """GroupNormalization of opset 21, eight groups of four."""
    graph = GraphBuilder("groupnorm_operator", seed=61, opset=21)
    y = graph.conv(graph.input(IMAGE), 3, 32)
    scale = graph.weight(32, scale=0.2, shift=1.0, name="scale")
    shift = graph.weight(32, scale=0.3, name="shift")
    y = graph.relu(graph.node("GroupNormalization", y, scale, shift, num_groups=8))
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def instancenorm_affine() -> onnx.ModelProto:
    """InstanceNormalization: statistics per channel, so a channel goes as after BatchNorm."""
    graph = GraphBuilder("instancenorm_affine", seed=62)
    y = graph.conv(graph.input(IMAGE), 3, 32)
    scale = graph.weight(32, scale=0.2, shift=1.0, name="scale")
    y = graph.node("InstanceNormalization", y, scale, graph.weight(32, scale=0.3, name="shift"))
    graph.classify(graph.relu(graph.conv(graph.relu(y), 32, 24)), 24)
    return graph.build()


def l2normalize_over_channel() -> onnx.ModelProto:
    """Division by the L2 norm over channels: a zero adds nothing to it."""
    graph = GraphBuilder("l2normalize_over_channel", seed=63)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    norm = graph.node("ReduceL2", y, axes=[1], keepdims=1)
    norm = graph.node(
        "Expand", graph.node("Clip", norm, graph.constant(1e-6)), graph.node("Shape", y)
    )
    graph.classify(graph.relu(graph.conv(graph.node("Div", y, norm), 32, 24)), 24)
    return graph.build()


def softmax_over_channel() -> onnx.ModelProto:
    """Softmax over 32 channels between convolutions: zeroing is not removing."""
    graph = GraphBuilder("softmax_over_channel", seed=64)
    y = graph.node("Softmax", graph.conv(graph.input(IMAGE), 3, 32), axis=1)
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def se_block() -> onnx.ModelProto:
    """Squeeze-excite: pool, 32 - 8 - 32, Sigmoid, Mul."""
    graph = GraphBuilder("se_block", seed=65)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    gate = graph.relu(graph.conv(graph.node("GlobalAveragePool", y), 32, 8, kernel=1))
    gate = graph.node("Sigmoid", graph.conv(gate, 8, 32, kernel=1))
    y = graph.node("Mul", y, gate)
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def cbam_mean_over_channel() -> onnx.ModelProto:
    """Spatial gate from mean and max over 32 channels: the mean's divisor and the max see zeros."""
    graph = GraphBuilder("cbam_mean_over_channel", seed=66)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    mean = graph.node("ReduceMean", y, axes=[1], keepdims=1)
    largest = graph.node("ReduceMax", y, axes=[1], keepdims=1)
    both = graph.node("Concat", mean, largest, axis=1)
    gate = graph.node("Sigmoid", graph.conv(both, 2, 1))
    y = graph.node("Mul", y, gate)
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def layer_scale_param() -> onnx.ModelProto:
    """A residual branch times a parameter of 32, viewed as (1, -1, 1, 1)."""
    return _layer_scale("layer_scale_param", [1, -1, 1, 1], seed=67)


def layer_scale_param_static_shape() -> onnx.ModelProto:
    """The same viewed as (1, 32, 1, 1), whose 32 has to follow the cut."""
    return _layer_scale("layer_scale_param_static_shape", [1, 32, 1, 1], seed=68)


def _layer_scale(name: str, view: list[int], *, seed: int) -> onnx.ModelProto:
    graph = GraphBuilder(name, seed=seed)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    branch = graph.conv(graph.relu(graph.conv(trunk, 32, 64)), 64, 32)
    gamma = graph.reshape(graph.weight(32, scale=0.2, shift=0.5, name="gamma"), view)
    joined = graph.node("Add", trunk, graph.node("Mul", branch, gamma))
    graph.classify(graph.relu(joined), 32)
    return graph.build()


def rmsnorm_custom_gated_mlp() -> onnx.ModelProto:
    """Pre-norm RMS normalisation in pieces, SiLU(f) * u, g, residual Add."""
    graph = GraphBuilder("rmsnorm_custom_gated_mlp", seed=69)
    x = graph.linear(graph.input((BATCH, 8, 32)), 32, 32)
    squares = graph.node("ReduceMean", graph.node("Pow", x, graph.constant(2.0)), axes=[-1])
    root = graph.node("Sqrt", graph.node("Add", squares, graph.constant(1e-5)))
    normed = graph.node("Mul", x, graph.node("Div", graph.constant(1.0), root))
    normed = graph.node("Mul", normed, graph.weight(32, scale=0.2, shift=1.0, name="scale"))
    gate, up = graph.linear(normed, 32, 64), graph.linear(normed, 32, 64)
    inner = graph.node("Mul", graph.node("Mul", gate, graph.node("Sigmoid", gate)), up)
    y = graph.node("Add", x, graph.linear(inner, 64, 32))
    pooled = graph.node("ReduceMean", y, axes=[1], keepdims=0)
    graph.output(graph.gemm(pooled, 32, 10), (BATCH, 10))
    return graph.build()


def stack_unbind() -> onnx.ModelProto:
    """Two maps stacked, Softmax over the stack, their sum weighted by it."""
    graph = GraphBuilder("stack_unbind", seed=70)
    x = graph.input(IMAGE)
    axis = graph.constant([1])
    maps = [graph.node("Unsqueeze", graph.conv(x, 3, 16), axis) for _ in range(2)]
    stack = graph.node("Concat", *maps, axis=1)
    weighted = graph.node("Mul", stack, graph.node("Softmax", stack, axis=1))
    y = graph.node("ReduceSum", weighted, axis, keepdims=0)
    graph.classify(graph.relu(graph.conv(y, 16, 24)), 24)
    return graph.build()


CASES = (
    groupnorm,
    groupnorm_operator,
    instancenorm_affine,
    l2normalize_over_channel,
    softmax_over_channel,
    se_block,
    cbam_mean_over_channel,
    layer_scale_param,
    layer_scale_param_static_shape,
    rmsnorm_custom_gated_mlp,
    stack_unbind,
)
