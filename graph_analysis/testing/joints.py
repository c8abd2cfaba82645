"""Hard cases about joints: Add and Concat in their variants, and weights that are used twice."""

import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)


def residual_add() -> onnx.ModelProto:
    """Trunk of 32 with normalisations; branch 64 - 32; Add."""
    graph = GraphBuilder("residual_add", seed=1)
    trunk = graph.relu(graph.conv_norm(graph.input(IMAGE), 3, 32))
    inner = graph.relu(graph.conv_norm(trunk, 32, 64))
    branch = graph.conv_norm(inner, 64, 32)
    graph.classify(graph.relu(graph.node("Add", trunk, branch)), 32)
    return graph.build()


def residual_add_folded() -> onnx.ModelProto:
    """Two residual blocks whose normalisations an exporter has folded; one projects its skip."""
    graph = GraphBuilder("residual_add_folded", seed=2)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 24))
    branch = graph.conv(graph.relu(graph.conv(trunk, 24, 32)), 32, 24)
    trunk = graph.relu(graph.node("Add", branch, trunk))
    branch = graph.conv(graph.relu(graph.conv(trunk, 24, 32, stride=2)), 32, 32)
    skip = graph.conv(trunk, 24, 32, kernel=1, stride=2)
    graph.classify(graph.relu(graph.node("Add", branch, skip)), 32)
    return graph.build()


def input_residual_add() -> onnx.ModelProto:
    """The graph input is added to a branch, so its three channels stay."""
    graph = GraphBuilder("input_residual_add", seed=3)
    x = graph.input(IMAGE)
    branch = graph.conv(graph.relu(graph.conv(x, 3, 32)), 32, 3)
    joined = graph.node("Add", x, branch)
    graph.classify(graph.relu(graph.conv(joined, 3, 16)), 16)
    return graph.build()


def outer_broadcast_add() -> onnx.ModelProto:
    """32 channels plus one that is broadcast over them: zero producers do not silence a channel."""
    graph = GraphBuilder("outer_broadcast_add", seed=4)
    x = graph.input(IMAGE)
    joined = graph.node("Add", graph.conv(x, 3, 32), graph.conv(x, 3, 1))
    graph.classify(graph.relu(graph.conv(graph.relu(joined), 32, 24)), 24)
    return graph.build()


def concat() -> onnx.ModelProto:
    """16 channels and a branch of 24 made from them, one normalisation over the 40."""
    graph = GraphBuilder("concat", seed=5)
    trunk = graph.conv(graph.input(IMAGE), 3, 16)
    branch = graph.relu(graph.conv(trunk, 16, 24))
    joined = graph.node("Concat", trunk, branch, axis=1)
    y = graph.relu(graph.batch_norm(joined, 40))
    graph.classify(graph.relu(graph.conv(y, 40, 32, kernel=1)), 32)
    return graph.build()


def multi_branch_inception_pool() -> onnx.ModelProto:
    """Convolutions of 12 and 8 and an average pool of 16, concatenated to 36."""
    graph = GraphBuilder("multi_branch_inception_pool", seed=6)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    point = graph.relu(graph.conv(trunk, 16, 12, kernel=1))
    square = graph.relu(graph.conv(trunk, 16, 8))
    pool = {"kernel_shape": [3, 3], "pads": [1] * 4}
    pooled = graph.node("AveragePool", trunk, **pool, count_include_pad=1)
    joined = graph.node("Concat", point, square, pooled, axis=1)
    graph.classify(graph.relu(graph.conv(joined, 36, 24)), 24)
    return graph.build()


def concat_then_grouped_conv() -> onnx.ModelProto:
    """Two convolutions of 16, concatenated, into four groups of 8."""
    graph = GraphBuilder("concat_then_grouped_conv", seed=7)
    x = graph.input(IMAGE)
    joined = graph.node("Concat", graph.conv(x, 3, 16), graph.conv(x, 3, 16), axis=1)
    y = graph.relu(graph.conv(graph.relu(joined), 32, 32, groups=4))
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def interpolate_to_skip_size() -> onnx.ModelProto:
    """A half-size branch resized to its skip, batch and channels of the sizes computed; dense."""
    graph = GraphBuilder("interpolate_to_skip_size", seed=8)
    skip = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    low = graph.relu(graph.conv(skip, 16, 32, stride=2))
    head = graph.slice(graph.node("Shape", low), [0], [0], ends=[2])
    tail = graph.slice(graph.node("Shape", skip), [0], [2])
    sizes = graph.node("Concat", head, tail, axis=0)
    _resize_and_join(graph, skip, low, sizes, batch=BATCH)
    return graph.build()


def interpolate_static_sizes() -> onnx.ModelProto:
    """The same with constant sizes that name the channels, so the batch is fixed too."""
    graph = GraphBuilder("interpolate_static_sizes", seed=9)
    skip = graph.relu(graph.conv(graph.input((1, *IMAGE[1:])), 3, 16))
    low = graph.relu(graph.conv(skip, 16, 32, stride=2))
    _resize_and_join(graph, skip, low, graph.constant([1, 32, 16, 16], name="sizes"), batch=1)
    return graph.build()


def _resize_and_join(
    graph: GraphBuilder, skip: str, low: str, sizes: str, *, batch: int | str
) -> None:
    """Resize ``low`` (32 channels), join it with ``skip`` (16), and end in two dense channels."""
    mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    up = graph.node("Resize", low, "", "", sizes, **mode, nearest_mode="floor")
    joined = graph.node("Concat", skip, up, axis=1)
    y = graph.relu(graph.conv(joined, 48, 24))
    graph.output(graph.conv(y, 24, 2, kernel=1), (batch, 2, 16, 16))


def shared_conv_reused() -> onnx.ModelProto:
    """One 32 -> 32 convolution applied twice in a row: one index set for all of its ends."""
    graph = GraphBuilder("shared_conv_reused", seed=10)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    kernel = graph.weight(32, 32, 3, 3, scale=(32 * 9) ** -0.5)
    bias = graph.weight(32, scale=0.5, name="bias")
    for _ in range(2):
        y = graph.relu(graph.node("Conv", y, kernel, bias, pads=[1] * 4))
    graph.classify(y, 32)
    return graph.build()


def shared_head_two_levels() -> onnx.ModelProto:
    """One head on two pyramid levels; two dense outputs whose four channels stay."""
    graph = GraphBuilder("shared_head_two_levels", seed=11)
    level = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    levels = [level, graph.relu(graph.conv(level, 32, 32, stride=2))]
    inner = graph.weight(24, 32, 3, 3, scale=(32 * 9) ** -0.5), graph.weight(24, scale=0.5)
    outer = graph.weight(4, 24, 1, 1, scale=24**-0.5), graph.weight(4, scale=0.5)
    for size, x in zip((16, 8), levels, strict=True):
        y = graph.relu(graph.node("Conv", x, *inner, pads=[1] * 4))
        graph.output(graph.node("Conv", y, *outer), (BATCH, 4, size, size))
    return graph.build()


def least_greatest_chosen() -> onnx.ModelProto:
    """Min and Max of branches, Where between two by a third: all of one width go together."""
    graph = GraphBuilder("least_greatest_chosen", seed=80)
    x = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    parts = [graph.conv(x, 16, 24) for _ in range(5)]
    y = graph.node("Max", graph.node("Min", parts[0], parts[1]), parts[2])
    is_less = graph.node("Less", parts[3], parts[4])
    graph.classify(graph.node("Where", is_less, y, parts[3]), 24)
    return graph.build()


def mixture_of_experts() -> onnx.ModelProto:
    """A router's Softmax weighs three experts, each a small network of its own."""
    graph = GraphBuilder("mixture_of_experts", seed=81)
    x = graph.gemm(graph.input((BATCH, 16)), 16, 32)
    shares = graph.node("Softmax", graph.gemm(x, 32, 3), axis=-1)
    y = x
    for expert, width in enumerate((20, 24, 28)):
        share = graph.slice(shares, [1], [expert], ends=[expert + 1])
        made = graph.gemm(graph.relu(graph.gemm(x, 32, width)), width, 32)
        y = graph.node("Add", y, graph.node("Mul", made, share))
    graph.output(graph.gemm(graph.relu(y), 32, 10), (BATCH, 10))
    return graph.build()


CASES = (
    residual_add,
    residual_add_folded,
    input_residual_add,
    outer_broadcast_add,
    concat,
    multi_branch_inception_pool,
    concat_then_grouped_conv,
    interpolate_to_skip_size,
    interpolate_static_sizes,
    shared_conv_reused,
    shared_head_two_levels,
    least_greatest_chosen,
    mixture_of_experts,
)
