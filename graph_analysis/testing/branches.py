"""Hard cases about erasing: what dies when a joint loses an input, and what silences it."""

import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)
WINDOW = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}


def branch_ends_in_sigmoid() -> onnx.ModelProto:
    """Zero weights leave 0.5 behind: the branch needs a gate."""
    graph = GraphBuilder("branch_ends_in_sigmoid", seed=401)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    branch = graph.node("Sigmoid", graph.conv(trunk, 16, 16))
    graph.classify(graph.relu(graph.node("Add", trunk, branch)), 16)
    return graph.build()


def branch_divides_by_its_norm() -> onnx.ModelProto:
    """Zero weights would divide 0 by 0: the branch keeps them, and has a gate."""
    graph = GraphBuilder("branch_divides_by_its_norm", seed=402)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    inner = graph.conv(trunk, 16, 16)
    norm = graph.node("ReduceL2", inner, axes=[2, 3], keepdims=1)
    branch = graph.conv(graph.node("Div", inner, norm), 16, 16, kernel=1)
    graph.classify(graph.relu(graph.node("Add", trunk, branch)), 16)
    return graph.build()


def branch_shares_its_weight() -> onnx.ModelProto:
    """The kernel of the branch is that of the trunk: it cannot be zeroed, so there is a gate."""
    graph = GraphBuilder("branch_shares_its_weight", seed=403)
    kernel = graph.weight(16, 16, 3, 3, scale=1 / 12)
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    trunk = graph.relu(graph.node("Conv", trunk, kernel, graph.weight(16, name="bias"), **conv))
    branch = graph.node("Conv", trunk, kernel, graph.weight(16, name="bias"), **conv)
    graph.classify(graph.relu(graph.node("Add", trunk, branch)), 16)
    return graph.build()


def pool_and_skip_in_a_sum() -> onnx.ModelProto:
    """A Sum of a convolution, a pool and the trunk itself: the pool has no weights, but a gate."""
    graph = GraphBuilder("pool_and_skip_in_a_sum", seed=404)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    pool = graph.node("AveragePool", trunk, **WINDOW)
    joined = graph.node("Sum", graph.conv(trunk, 16, 16), pool, trunk)
    graph.classify(graph.relu(joined), 16)
    return graph.build()


def pool_of_the_input_in_a_concat() -> onnx.ModelProto:
    """The pool carries the channels of the input, which stay; its places in the Concat can go."""
    graph = GraphBuilder("pool_of_the_input_in_a_concat", seed=405)
    x = graph.input(IMAGE)
    pool = graph.node("AveragePool", x, **WINDOW)
    joined = graph.node("Concat", graph.conv(x, 3, 12), pool, axis=1)
    graph.classify(graph.relu(graph.conv(graph.batch_norm(joined, 15), 15, 24)), 24)
    return graph.build()


def pyramid_pooling() -> onnx.ModelProto:
    """x, pool(x), pool(pool(x)) in one Concat (SPPF): every place can go alone."""
    graph = GraphBuilder("pyramid_pooling", seed=406)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 8))
    once = graph.node("MaxPool", trunk, **WINDOW)
    twice = graph.node("MaxPool", once, **WINDOW)
    joined = graph.node("Concat", trunk, once, twice, axis=1)
    graph.classify(graph.relu(graph.conv(joined, 24, 16, kernel=1)), 16)
    return graph.build()


def pool_added_to_a_trunk() -> onnx.ModelProto:
    """Behind the Concat the places of the pool are tied to a trunk made elsewhere: no choice."""
    graph = GraphBuilder("pool_added_to_a_trunk", seed=407)
    x = graph.relu(graph.conv(graph.input(IMAGE), 3, 8))
    joined = graph.node("Concat", graph.conv(x, 8, 8), graph.node("MaxPool", x, **WINDOW), axis=1)
    trunk = graph.node("Add", joined, graph.conv(x, 8, 16))
    graph.classify(graph.relu(trunk), 16)
    return graph.build()


def nested_residual() -> onnx.ModelProto:
    """A residual block within the branch of another."""
    graph = GraphBuilder("nested_residual", seed=408)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    outer = graph.relu(graph.conv(trunk, 16, 24))
    inner = graph.conv(graph.relu(graph.conv(outer, 24, 8)), 8, 24)
    outer = graph.relu(graph.node("Add", outer, inner))
    branch = graph.conv(outer, 24, 16)
    graph.classify(graph.relu(graph.node("Add", trunk, branch)), 16)
    return graph.build()


def unet_two_levels() -> onnx.ModelProto:
    """Two levels with long skip connections: the deeper one lies in the outer one's branch."""
    graph = GraphBuilder("unet_two_levels", seed=409)
    up = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    twice = graph.constant([1.0, 1.0, 2.0, 2.0])
    first = graph.relu(graph.conv(graph.input(IMAGE), 3, 8))
    second = graph.relu(graph.conv(first, 8, 12, stride=2))
    third = graph.relu(graph.conv(second, 12, 16, stride=2))
    raised = graph.node("Resize", third, "", twice, **up)
    joined = graph.node("Concat", second, raised, axis=1)
    back = graph.relu(graph.conv(joined, 28, 12))
    raised = graph.node("Resize", back, "", twice, **up)
    joined = graph.node("Concat", first, raised, axis=1)
    graph.classify(graph.relu(graph.conv(joined, 20, 8)), 8)
    return graph.build()


def two_scales_from_one_branch() -> onnx.ModelProto:
    """One branch reaches two joints, the second through a pool: it is cut off at both."""
    graph = GraphBuilder("two_scales_from_one_branch", seed=410)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    branch = graph.conv(trunk, 16, 16)
    fine = graph.relu(graph.node("Add", trunk, branch))
    pool = graph.node("MaxPool", branch, kernel_shape=[2, 2], strides=[2, 2])
    coarse = graph.node("Add", graph.conv(fine, 16, 16, stride=2), pool)
    graph.classify(graph.relu(coarse), 16)
    return graph.build()


def repeated_layers() -> onnx.ModelProto:
    """Two residual branches of different widths, twice: the pair is a layer."""
    graph = GraphBuilder("repeated_layers", seed=411)
    trunk = graph.linear(graph.input((BATCH, 8, 12)), 12, 32)
    for width in (48, 24, 48, 24):
        inner = graph.relu(graph.linear(trunk, 32, width))
        trunk = graph.node("Add", trunk, graph.linear(inner, width, 32))
    graph.output(graph.linear(trunk, 32, 10), (BATCH, 8, 10))
    return graph.build()


def dense_block() -> onnx.ModelProto:
    """Every layer reads all before it (DenseNet); a layer goes with its place in every Concat."""
    graph = GraphBuilder("dense_block", seed=412)
    features = [graph.relu(graph.conv(graph.input(IMAGE), 3, 16))]
    width = 16
    for _ in range(3):
        joined = features[0] if len(features) == 1 else graph.node("Concat", *features, axis=1)
        inner = graph.relu(graph.batch_norm(joined, width))
        features.append(graph.conv(inner, width, 8))
        width += 8
    joined = graph.relu(graph.batch_norm(graph.node("Concat", *features, axis=1), width))
    graph.classify(joined, width)
    return graph.build()


def subtracted_branch() -> onnx.ModelProto:
    """The right side of a Sub can go, the left one cannot."""
    graph = GraphBuilder("subtracted_branch", seed=413)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    left = graph.conv(trunk, 16, 16)
    right = graph.node("Softplus", graph.conv(trunk, 16, 16))
    graph.classify(graph.relu(graph.node("Sub", left, right)), 16)
    return graph.build()


CASES = (
    branch_ends_in_sigmoid,
    branch_divides_by_its_norm,
    branch_shares_its_weight,
    pool_and_skip_in_a_sum,
    pool_of_the_input_in_a_concat,
    pyramid_pooling,
    pool_added_to_a_trunk,
    nested_residual,
    unet_two_levels,
    two_scales_from_one_branch,
    repeated_layers,
    dense_block,
    subtracted_branch,
)
