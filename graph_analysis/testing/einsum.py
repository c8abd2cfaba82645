"""Hard cases written as Einsum, and sums and norms over the cut axis."""

import onnx

from graph_analysis.testing.attention import classify_tokens, residual_mlp
from graph_analysis.testing.builder import BATCH, GraphBuilder

TOKENS = (BATCH, 8, 32)
IMAGE = (BATCH, 3, 16, 16)


def einsum_attention() -> onnx.ModelProto:
    """bnhd,bmhd->bhnm and back; four heads of eight seen in a Reshape."""
    graph = GraphBuilder("einsum_attention", seed=120)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    parts = (graph.reshape(graph.linear(x, 32, 32), [0, 8, 4, 8]) for _ in range(3))
    mixed = graph.reshape(_attended(graph, *parts), [0, 8, 32])
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def einsum_projections() -> onnx.ModelProto:
    """Weights of three axes: heads and head size are indices of their own, and both may go."""
    graph = GraphBuilder("einsum_projections", seed=121)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    parts = []
    for size in (8, 8, 6):
        weight = graph.weight(32, 4, size, scale=32**-0.5)
        y = graph.node("Einsum", x, weight, equation="bnd,dhk->bnhk")
        parts.append(graph.node("Add", y, graph.weight(4, size, scale=0.5, name="bias")))
    mixed = _attended(graph, *parts)
    out = graph.weight(4, 6, 32, scale=24**-0.5)
    y = graph.node("Einsum", mixed, out, equation="bnhk, hkd -> bnd")
    classify_tokens(graph, graph.node("Add", x, y), 32)
    return graph.build()


def einsum_ellipsis() -> onnx.ModelProto:
    """Linear layers with an ellipsis and with an implicit output."""
    graph = GraphBuilder("einsum_ellipsis", seed=122)
    x = graph.input(TOKENS)
    y = graph.node("Einsum", x, graph.weight(32, 24, scale=32**-0.5), equation="...i,ij->...j")
    y = graph.relu(y)
    y = graph.node("Einsum", y, graph.weight(24, 16, scale=24**-0.5), equation="bic,cj")
    classify_tokens(graph, graph.relu(y), 16)
    return graph.build()


def einsum_gram() -> onnx.ModelProto:
    """Channels against channels, summed over the positions; a sum of the result's columns."""
    graph = GraphBuilder("einsum_gram", seed=123)
    y = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    other = graph.relu(graph.conv(y, 16, 12))
    gram = graph.node("Einsum", y, other, equation="bchw,bdhw->bcd")
    gram = graph.node("Mul", gram, graph.constant(1 / 64))
    flat = graph.gemm(graph.node("Flatten", gram), 192, 24)
    graph.output(graph.gemm(graph.relu(flat), 24, 10), (BATCH, 10))
    return graph.build()


def einsum_over_channel() -> onnx.ModelProto:
    """A product of two maps summed over their channels: one of them must be 0 there."""
    graph = GraphBuilder("einsum_over_channel", seed=124)
    x = graph.input(IMAGE)
    left, right = graph.relu(graph.conv(x, 3, 16)), graph.node("Sigmoid", graph.conv(x, 3, 16))
    gate = graph.node("Einsum", left, right, equation="bchw,bchw->bhw")
    gate = graph.node("Unsqueeze", gate, graph.constant([1]))
    y = graph.node("Mul", graph.relu(graph.conv(x, 3, 24)), gate)
    graph.classify(y, 24)
    return graph.build()


def l2normalize_decomposed() -> onnx.ModelProto:
    """Pow, ReduceSum, Sqrt, Div, behind a normalisation."""
    graph = GraphBuilder("l2normalize_decomposed", seed=125)
    y = graph.conv_norm(graph.input(IMAGE), 3, 32)
    squares = graph.node("Pow", y, graph.constant(2.0))
    total = graph.node("ReduceSum", squares, graph.constant([1]), keepdims=1)
    norm = graph.node("Sqrt", graph.node("Add", total, graph.constant(1e-6)))
    graph.classify(graph.relu(graph.conv(graph.node("Div", y, norm), 32, 24)), 24)
    return graph.build()


def lp_normalization_residual() -> onnx.ModelProto:
    """LpNormalization of a residual sum over its channels."""
    graph = GraphBuilder("lp_normalization_residual", seed=126)
    trunk = graph.relu(graph.conv(graph.input(IMAGE), 3, 32))
    y = graph.node("Add", trunk, graph.conv(trunk, 32, 32))
    y = graph.node("LpNormalization", y, axis=1, p=2)
    graph.classify(graph.relu(graph.conv(y, 32, 24)), 24)
    return graph.build()


def l2normalize_after_sigmoid() -> onnx.ModelProto:
    """A Sigmoid makes 0.5 of a zeroed channel, which the norm sees: the 32 channels stay."""
    graph = GraphBuilder("l2normalize_after_sigmoid", seed=127)
    y = graph.node("Sigmoid", graph.conv(graph.input(IMAGE), 3, 32))
    norm = graph.node("ReduceL2", y, axes=[1], keepdims=1)
    graph.classify(graph.relu(graph.conv(graph.node("Div", y, norm), 32, 24)), 24)
    return graph.build()


def _attended(graph: GraphBuilder, query: str, key: str, value: str) -> str:
    """Attention of (N, tokens, heads, size) tensors, by Einsum."""
    scores = graph.node("Einsum", query, key, equation="bnhd,bmhd->bhnm")
    scores = graph.node("Mul", scores, graph.constant(8**-0.5))
    weights = graph.node("Softmax", scores, axis=-1)
    return graph.node("Einsum", weights, value, equation="bhnm,bmhd->bnhd")


CASES = (
    einsum_attention,
    einsum_projections,
    einsum_ellipsis,
    einsum_gram,
    einsum_over_channel,
    l2normalize_decomposed,
    lp_normalization_residual,
    l2normalize_after_sigmoid,
)
