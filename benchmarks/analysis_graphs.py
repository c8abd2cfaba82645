"""Synthetic networks of any size: narrow, so that the graph is what costs."""

from collections.abc import Callable, Mapping

import onnx

from graph_analysis.testing import BATCH, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)
TOKENS = (BATCH, 8, 32)


def residual(nodes: int) -> onnx.ModelProto:
    """Residual blocks of two convolutions: five nodes each."""
    graph = GraphBuilder("residual")
    x = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    for _ in range(nodes // 5):
        branch = graph.conv(graph.relu(graph.conv(x, 16, 16)), 16, 16)
        x = graph.relu(graph.node("Add", x, branch))
    graph.classify(x, 16)
    return graph.build()


def dense(nodes: int) -> onnx.ModelProto:
    """Dense blocks of four layers (DenseNet), narrowed again after each: 21 nodes."""
    graph = GraphBuilder("dense")
    x = graph.relu(graph.conv(graph.input(IMAGE), 3, 16))
    for _ in range(nodes // 21):
        parts, width = [x], 16
        for _ in range(4):
            joined = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
            parts.append(graph.conv(graph.relu(graph.batch_norm(joined, width)), width, 4))
            width += 4
        x = graph.relu(graph.conv(graph.node("Concat", *parts, axis=1), width, 16, kernel=1))
    graph.classify(x, 16)
    return graph.build()


def transformer(nodes: int) -> onnx.ModelProto:
    """Pre-norm attention of four heads and an MLP: 26 nodes a layer."""
    graph = GraphBuilder("transformer")
    x = graph.input(TOKENS)
    for _ in range(nodes // 26):
        x = graph.node("Add", x, _attention(graph, _norm(graph, x)))
        inner = graph.relu(graph.linear(_norm(graph, x), 32, 64))
        x = graph.node("Add", x, graph.linear(inner, 64, 32))
    graph.output(graph.linear(x, 32, 10), (BATCH, 8, 10))
    return graph.build()


def _norm(graph: GraphBuilder, x: str) -> str:
    scale, shift = graph.weight(32, shift=1.0, name="scale"), graph.weight(32, name="shift")
    return graph.node("LayerNormalization", x, scale, shift, axis=-1)


def _attention(graph: GraphBuilder, x: str) -> str:
    heads = [
        graph.transpose(graph.reshape(graph.linear(x, 32, 32), (0, 8, 4, 8)), (0, 2, 1, 3))
        for _ in range(3)
    ]
    query, key, value = heads
    scores = graph.node("MatMul", query, graph.transpose(key, (0, 1, 3, 2)))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    merged = graph.reshape(graph.transpose(mixed, (0, 2, 1, 3)), (0, 8, 32))
    return graph.linear(merged, 32, 32)


def heavy(megabytes: int) -> onnx.ModelProto:
    """A chain of wide matrices: almost nothing but weights."""
    graph = GraphBuilder("heavy")
    x = graph.input((BATCH, 1024))
    for _ in range(megabytes // 4):
        x = graph.relu(graph.node("MatMul", x, graph.weight(1024, 1024)))
    graph.output(graph.linear(x, 1024, 10), (BATCH, 10))
    return graph.build()


FAMILIES: Mapping[str, Callable[[int], onnx.ModelProto]] = {
    "residual": residual,
    "dense": dense,
    "transformer": transformer,
}
