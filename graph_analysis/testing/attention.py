"""Hard cases about attention: packed, grouped and crossed projections, windows, and embeddings."""

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

TOKENS = (BATCH, 8, 32)  # eight tokens of width 32
HEADS, SIZE = 4, 8


def nn_multihead_attention() -> onnx.ModelProto:
    """Packed in-projection split in three, tokens first, four heads; normalised behind the Add."""
    graph = GraphBuilder("nn_multihead_attention", seed=100)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    tokens_first = graph.transpose(x, [1, 0, 2])
    packed = graph.linear(tokens_first, 32, 96)
    packed = graph.transpose(graph.node("Unsqueeze", graph.reshape(packed, [8, -1, 3, 32]),
                                        graph.constant([0])), [3, 1, 2, 0, 4])  # fmt: skip
    packed = graph.node("Squeeze", packed, graph.constant([3]))
    parts = [graph.node("Gather", packed, graph.constant(np.int64(n)), axis=0) for n in range(3)]
    query, key, value = (
        graph.transpose(graph.reshape(part, [8, -1, SIZE]), [1, 0, 2]) for part in parts
    )
    scores = graph.node("MatMul", query, graph.transpose(key, [0, 2, 1]))
    scores = graph.node("Mul", scores, graph.constant(SIZE**-0.5))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    mixed = graph.reshape(graph.transpose(mixed, [1, 0, 2]), [8, -1, 32])
    y = graph.node("Add", x, graph.transpose(graph.linear(mixed, 32, 32), [1, 0, 2]))
    y = _normalised(graph, y, 32)
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def batch_times_heads() -> onnx.ModelProto:
    """Heads merged into the batch axis, its length computed from the batch; and taken out again."""
    graph = GraphBuilder("batch_times_heads", seed=109)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    batch = graph.slice(graph.node("Shape", x), [0], [0], ends=[1])
    merged = graph.node("Mul", batch, graph.constant([HEADS]))
    shape = graph.node("Concat", merged, graph.constant([8, SIZE]), axis=0)
    query, key, value = (
        graph.node("Reshape", _heads(graph, graph.linear(x, 32, 32), HEADS, SIZE), shape)
        for _ in range(3)
    )
    scores = graph.node("MatMul", query, graph.transpose(key, [0, 2, 1]))
    scores = graph.node("Mul", scores, graph.constant(SIZE**-0.5))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    apart = graph.node("Concat", batch, graph.constant([HEADS, 8, SIZE]), axis=0)
    mixed = _merged(graph, graph.node("Reshape", mixed, apart), 32)
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def gqa() -> onnx.ModelProto:
    """Eight query heads of four, two of keys and values, repeated by Expand in five axes."""
    graph = GraphBuilder("gqa", seed=101)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    query = _heads(graph, graph.linear(x, 32, 32), 8, 4)
    key, value = (
        _repeated(graph, _heads(graph, graph.linear(x, 32, 8), 2, 4), 4) for _ in range(2)
    )
    mixed = attend(graph, query, key, value, 4)
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def _repeated(graph: GraphBuilder, x: str, times: int) -> str:
    x = graph.node("Unsqueeze", x, graph.constant([2]))
    x = graph.node("Expand", x, graph.constant([1, 2, times, 8, 4]))
    return graph.reshape(x, [-1, 2 * times, 8, 4])


def sdpa_functional() -> onnx.ModelProto:
    """Chunks of a fused linear layer; the scale is computed from the shape of the query."""
    graph = GraphBuilder("sdpa_functional", seed=102)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    sizes = graph.constant([32, 32, 32], name="split")
    parts = graph.nodes("Split", graph.linear(x, 32, 96), sizes, outputs=3, axis=-1)
    query, key, value = (_heads(graph, part, HEADS, SIZE) for part in parts)
    size = graph.slice(graph.node("Shape", query), [0], [-1])
    root = graph.node("Sqrt", graph.node("Cast", size, to=onnx.TensorProto.FLOAT))
    half = graph.node("Sqrt", graph.node("Div", graph.constant([1.0]), root))
    query = graph.node("Mul", query, half)
    key = graph.node("Mul", graph.transpose(key, [0, 1, 3, 2]), half)
    weights = graph.node("Softmax", graph.node("MatMul", query, key), axis=-1)
    mixed = _merged(graph, graph.node("MatMul", weights, value), 32)
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def scale_from_trunk_width() -> onnx.ModelProto:
    """The scale is computed from the trunk's width over the heads, and so is the head size."""
    graph = GraphBuilder("scale_from_trunk_width", seed=110)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    width = graph.node("Gather", graph.node("Shape", x), graph.constant([2]), axis=0)
    size = graph.node("Div", width, graph.constant([HEADS]))
    lengths = [graph.constant([0]), graph.constant([8]), graph.constant([HEADS]), size]
    target = graph.node("Concat", *lengths, axis=0)
    query, key, value = (
        graph.transpose(graph.node("Reshape", graph.linear(x, 32, 32), target), [0, 2, 1, 3])
        for _ in range(3)
    )
    floats = graph.node("Cast", graph.node("Cast", size, to=6), to=onnx.TensorProto.FLOAT)
    query = graph.node("Mul", query, graph.node("Pow", floats, graph.constant([-0.5])))
    scores = graph.node("MatMul", query, graph.transpose(key, [0, 1, 3, 2]))
    mixed = _merged(graph, graph.node("MatMul", graph.node("Softmax", scores), value), 32)
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def cross_attention_two_inputs() -> onnx.ModelProto:
    """Queries from one input (width 32), keys and values from another (24)."""
    graph = GraphBuilder("cross_attention_two_inputs", seed=103)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    memory = graph.linear(graph.input((BATCH, 6, 24), "memory"), 24, 24)
    query = _heads(graph, graph.linear(x, 32, 32), HEADS, SIZE)
    key, value = (_heads(graph, graph.linear(memory, 24, 32), HEADS, SIZE, 6) for _ in range(2))
    mixed = attend(graph, query, key, value, SIZE)
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def single_head_dot_product() -> onnx.ModelProto:
    """Attention over positions without heads: the width is summed over between activations."""
    graph = GraphBuilder("single_head_dot_product", seed=104)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    query, key, value = (graph.linear(x, 32, width) for width in (16, 16, 24))
    scores = graph.node("MatMul", query, graph.transpose(key, [0, 2, 1]))
    scores = graph.node("Mul", scores, graph.constant(0.25))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    y = graph.node("Add", x, graph.linear(mixed, 24, 32))
    classify_tokens(graph, y, 32)
    return graph.build()


def swin_window_partition() -> onnx.ModelProto:
    """An 8x8x32 map cut into windows of 4x4, fused attention in each, put back; MLP."""
    graph = GraphBuilder("swin_window_partition", seed=105)
    x = graph.linear(graph.input((BATCH, 8, 8, 32)), 32, 32)
    windows = graph.transpose(graph.reshape(x, [-1, 2, 4, 2, 4, 32]), [0, 1, 3, 2, 4, 5])
    windows = graph.reshape(windows, [-1, 16, 32])
    fused = graph.reshape(graph.linear(windows, 32, 96), [-1, 16, 3, HEADS, SIZE])
    fused = graph.transpose(fused, [2, 0, 3, 1, 4])
    query, key, value = (
        graph.node("Gather", fused, graph.constant(np.int64(part)), axis=0) for part in range(3)
    )
    mixed = graph.linear(attend(graph, query, key, value, SIZE, tokens=16), 32, 32)
    mixed = graph.transpose(graph.reshape(mixed, [-1, 2, 2, 4, 4, 32]), [0, 1, 3, 2, 4, 5])
    y = graph.node("Add", x, graph.reshape(mixed, [-1, 8, 8, 32]))
    y = residual_mlp(graph, y)
    pooled = graph.node("ReduceMean", y, axes=[1, 2], keepdims=0)
    graph.output(graph.gemm(pooled, 32, 10), (BATCH, 10))
    return graph.build()


def swin_patch_merging() -> onnx.ModelProto:
    """An 8x8x16 map, four strided slices side by side on 64, normalised, linear 32."""
    graph = GraphBuilder("swin_patch_merging", seed=106)
    x = graph.linear(graph.input((BATCH, 8, 8, 16)), 16, 16)
    corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
    parts = [graph.slice(x, [1, 2], corner, steps=[2, 2]) for corner in corners]
    y = graph.reshape(graph.node("Concat", *parts, axis=-1), [-1, 16, 64])
    y = _normalised(graph, y, 64)
    classify_tokens(graph, graph.relu(graph.linear(y, 64, 32)), 32)
    return graph.build()


def embedding_gather() -> onnx.ModelProto:
    """Token embedding 50 x 32 and positions, residual MLP; the vocabulary is data."""
    graph = GraphBuilder("embedding_gather", seed=107)
    x = _embedded(graph, graph.weight(50, 32, name="table"))
    classify_tokens(graph, residual_mlp(graph, x), 32)
    return graph.build()


def tied_embedding_lm_head() -> onnx.ModelProto:
    """The embedding table is the output matrix too: one index set for both uses."""
    graph = GraphBuilder("tied_embedding_lm_head", seed=108)
    table = graph.weight(50, 32, scale=0.3, name="table")
    x = residual_mlp(graph, _embedded(graph, table))
    graph.output(graph.node("MatMul", x, graph.transpose(table, [1, 0])), (BATCH, 8, 50))
    return graph.build()


def _embedded(graph: GraphBuilder, table: str) -> str:
    ids = graph.input((BATCH, 8), "ids", dtype=onnx.TensorProto.INT64)
    x = graph.node("Gather", table, ids)
    return graph.node("Add", x, graph.weight(1, 8, 32, scale=0.3, name="positions"))


def _normalised(graph: GraphBuilder, x: str, width: int) -> str:
    scale, shift = graph.weight(width, scale=0.2, shift=1.0), graph.weight(width, scale=0.3)
    return graph.node("LayerNormalization", x, scale, shift, axis=-1)


def _heads(graph: GraphBuilder, x: str, heads: int, size: int, tokens: int = 8) -> str:
    return graph.transpose(graph.reshape(x, [0, tokens, heads, size]), [0, 2, 1, 3])


def attend(
    graph: GraphBuilder, query: str, key: str, value: str, size: int, *, tokens: int = 8
) -> str:
    """Softmax(QK^T / sqrt(size)) V of (N, heads, tokens, size), back to (N, tokens, 32)."""
    scores = graph.node("MatMul", query, graph.transpose(key, [0, 1, 3, 2]))
    scores = graph.node("Mul", scores, graph.constant(size**-0.5))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    return _merged(graph, mixed, 32, tokens)


def _merged(graph: GraphBuilder, x: str, width: int, tokens: int = 8) -> str:
    return graph.reshape(graph.transpose(x, [0, 2, 1, 3]), [-1, tokens, width])


def residual_mlp(graph: GraphBuilder, x: str) -> str:
    """Add linear(ReLU(linear(x))), 32 - 64 - 32, to x."""
    inner = graph.relu(graph.linear(x, 32, 64))
    return graph.node("Add", x, graph.linear(inner, 64, 32))


def classify_tokens(graph: GraphBuilder, x: str, width: int) -> None:
    """End the graph: mean over the tokens, linear layer; one output."""
    pooled = graph.node("ReduceMean", x, axes=[1], keepdims=0)
    graph.output(graph.gemm(pooled, width, 10), (BATCH, 10))


CASES = (
    nn_multihead_attention,
    batch_times_heads,
    gqa,
    sdpa_functional,
    scale_from_trunk_width,
    cross_attention_two_inputs,
    single_head_dot_product,
    swin_window_partition,
    swin_patch_merging,
    embedding_gather,
    tied_embedding_lm_head,
)
