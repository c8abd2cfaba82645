"""Hard cases in ONNX Runtime's own operators (com.microsoft), and attention of opset 23."""

from typing import Any

import numpy as np
import onnx

from graph_analysis.testing.attention import classify_tokens, residual_mlp
from graph_analysis.testing.builder import BATCH, GraphBuilder

TOKENS = (BATCH, 8, 32)
IMAGE = (BATCH, 3, 16, 16)
MICROSOFT = "com.microsoft"


def fused_conv() -> onnx.ModelProto:
    """FusedConv with ReLU, with a residual tensor added inside, and grouped with Clip."""
    graph = GraphBuilder("fused_conv", seed=140)
    trunk = _conv(graph, graph.input(IMAGE), 3, 16, activation="Relu")
    inner = _conv(graph, trunk, 16, 24, activation="Relu")
    y = _conv(graph, inner, 24, 16, added=trunk, activation="Relu")
    y = _conv(graph, y, 16, 16, groups=16, activation="Clip", activation_params=[0.0, 6.0])
    graph.classify(_conv(graph, y, 16, 24, activation="Relu"), 24)
    return graph.build()


def fused_conv_branch() -> onnx.ModelProto:
    """A residual branch that ends in a FusedConv: 0 with ReLU inside, not 0 with Sigmoid."""
    graph = GraphBuilder("fused_conv_branch", seed=141)
    trunk = _conv(graph, graph.input(IMAGE), 3, 16, activation="Relu")
    for activation in ("Relu", "Sigmoid"):
        branch = _conv(graph, trunk, 16, 24, activation="Relu")
        trunk = graph.node("Add", trunk, _conv(graph, branch, 24, 16, activation=activation))
    graph.classify(trunk, 16)
    return graph.build()


def _conv(
    graph: GraphBuilder,
    x: str,
    channels_in: int,
    channels_out: int,
    *,
    added: str = "",
    groups: int = 1,
    **activation: Any,
) -> str:
    fan_in = channels_in // groups * 9
    weight = graph.weight(channels_out, channels_in // groups, 3, 3, scale=fan_in**-0.5)
    inputs = [x, weight, graph.weight(channels_out, scale=0.5, name="bias")]
    inputs += [added] if added else []
    return graph.node(
        "FusedConv", *inputs, domain=MICROSOFT, pads=[1] * 4, group=groups, **activation
    )


def fused_activations() -> onnx.ModelProto:
    """BiasGelu, FastGelu with a bias, QuickGelu and Gelu between linear layers."""
    graph = GraphBuilder("fused_activations", seed=142)
    y = graph.input(TOKENS)
    for width_in, width_out, name in (
        (32, 24, "BiasGelu"),
        (24, 20, "FastGelu"),
        (20, 16, "QuickGelu"),
        (16, 12, "Gelu"),
    ):
        y = graph.node("MatMul", y, graph.weight(width_in, width_out, scale=width_in**-0.5))
        has_bias = name in ("BiasGelu", "FastGelu")
        bias = [graph.weight(width_out, scale=0.5, name="bias")] if has_bias else []
        y = graph.node(name, y, *bias, domain=MICROSOFT)
    classify_tokens(graph, y, 12)
    return graph.build()


def fused_matmul() -> onnx.ModelProto:
    """FusedMatMul with a transposed weight, and with transposed keys and a factor inside."""
    graph = GraphBuilder("fused_matmul", seed=143)
    x = graph.input(TOKENS)
    weight = graph.weight(32, 32, scale=32**-0.5)
    x = graph.node("FusedMatMul", x, weight, domain=MICROSOFT, transB=1, alpha=0.5)
    query, key, value = (
        graph.transpose(graph.reshape(graph.linear(x, 32, 32), [0, 8, 4, 8]), [0, 2, 1, 3])
        for _ in range(3)
    )
    scores = graph.node("FusedMatMul", query, key, domain=MICROSOFT, transB=1, alpha=8**-0.5)
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    mixed = graph.reshape(graph.transpose(mixed, [0, 2, 1, 3]), [0, 8, 32])
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    first, second = graph.linear(y, 32, 16), graph.linear(y, 32, 16)
    gram = graph.node("FusedMatMul", first, second, domain=MICROSOFT, transA=1)
    flat = graph.gemm(graph.node("Flatten", gram), 256, 24)
    graph.output(graph.gemm(graph.relu(flat), 24, 10), (BATCH, 10))
    return graph.build()


def skip_layer_normalization() -> onnx.ModelProto:
    """Two residual MLPs joined by the fused Adds, plain and simplified, with its sum."""
    graph = GraphBuilder("skip_layer_normalization", seed=144)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    inner = graph.linear(graph.relu(graph.linear(x, 32, 64)), 64, 32)
    gamma, beta, bias = (
        graph.weight(32, scale=0.2, shift=shift, name="norm") for shift in (1.0, 0.0, 0.0)
    )
    outputs = graph.nodes(
        "SkipLayerNormalization", x, inner, gamma, beta, bias, outputs=4, domain=MICROSOFT
    )
    y = graph.linear(graph.relu(graph.linear(outputs[0], 32, 48)), 48, 32)
    y = graph.node("SkipSimplifiedLayerNormalization", outputs[3], y,
                   graph.weight(32, scale=0.2, shift=1.0), domain=MICROSOFT)  # fmt: skip
    classify_tokens(graph, y, 32)
    return graph.build()


def embed_layer_normalization() -> onnx.ModelProto:
    """Ids to normalised embeddings in one operator; an MLP behind it."""
    graph = GraphBuilder("embed_layer_normalization", seed=145)
    ids = graph.input((BATCH, 8), "ids", dtype=onnx.TensorProto.INT32)
    tables = [graph.weight(rows, 32, name="table") for rows in (50, 8)]
    gamma, beta = graph.weight(32, scale=0.2, shift=1.0), graph.weight(32, scale=0.3)
    inputs = [ids, "", *tables, "", gamma, beta]
    y, _ = graph.nodes("EmbedLayerNormalization", *inputs, outputs=2, domain=MICROSOFT)
    classify_tokens(graph, graph.relu(graph.linear(y, 32, 24)), 24)
    return graph.build()


def fused_encoder() -> onnx.ModelProto:
    """Ids, segments, places and a mask embedded in one operator, whose sum is read as well.

    Behind it attention and an MLP with the Adds fused into the norms, one of them without a shift.
    """
    graph = GraphBuilder("fused_encoder", seed=155)
    integer = onnx.TensorProto.INT32
    ids, segments, mask = (
        graph.input((BATCH, 8), name, dtype=integer) for name in ("ids", "segments", "mask")
    )
    tables = [graph.weight(rows, 32, name="table") for rows in (50, 12, 9)]
    places = graph.integers([[3, 1, 4, 2, 5, 9, 7, 6]])
    inputs = [ids, segments, *tables, *_scale_and_shift(graph), mask, places]
    y, lengths, total = graph.nodes(
        "EmbedLayerNormalization", *inputs, outputs=3, domain=MICROSOFT, epsilon=1e-3
    )
    weights = graph.weight(32, 96, scale=32**-0.5), graph.weight(96, scale=0.5, name="bias")
    mixed = graph.node("Attention", y, *weights, lengths, domain=MICROSOFT, num_heads=4)
    mixed = graph.linear(mixed, 32, 32)
    y = graph.node("SkipLayerNormalization", mixed, y, *_scale_and_shift(graph), domain=MICROSOFT)
    inner = graph.node("MatMul", y, graph.weight(32, 48, scale=32**-0.5))
    inner = graph.node("BiasGelu", inner, graph.weight(48, scale=0.5), domain=MICROSOFT)
    inner = graph.node("MatMul", inner, graph.weight(48, 32, scale=48**-0.5))
    scale, bias = graph.weight(32, scale=0.2, shift=1.0), graph.weight(32, scale=0.5, name="bias")
    y = graph.node("SkipLayerNormalization", inner, y, scale, "", bias, domain=MICROSOFT)
    classify_tokens(graph, graph.node("Add", y, total), 32)
    return graph.build()


def fused_norms_without_means() -> onnx.ModelProto:
    """A simplified norm after an Add with a bias; its statistic and its sum are read as well."""
    graph = GraphBuilder("fused_norms_without_means", seed=156)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    scale, bias = graph.weight(32, scale=0.2, shift=1.0), graph.weight(32, scale=0.5, name="bias")
    places = graph.weight(1, 8, 32, name="position")
    y, _, inverse, total = graph.nodes(
        "SkipSimplifiedLayerNormalization",
        *(x, places, scale, bias),
        outputs=4,
        domain=MICROSOFT,
        epsilon=1e-2,
    )
    y = graph.node("Mul", graph.linear(graph.relu(graph.linear(y, 32, 48)), 48, 32), inverse)
    y = graph.node("Add", total, y)
    classify_tokens(graph, graph.relu(graph.linear(y, 32, 24)), 24)
    return graph.build()


def _scale_and_shift(graph: GraphBuilder) -> tuple[str, str]:
    return graph.weight(32, scale=0.2, shift=1.0), graph.weight(32, scale=0.3, name="shift")


def attention_operator() -> onnx.ModelProto:
    """com.microsoft Attention: one weight of 3 x 32, four heads."""
    return _attention("attention_operator", 146, [32, 32, 32], stated=False)


def attention_operator_uneven() -> onnx.ModelProto:
    """The same with values of another width than queries and keys."""
    return _attention("attention_operator_uneven", 147, [32, 32, 24], stated=True)


def _attention(name: str, seed: int, sizes: list[int], *, stated: bool) -> onnx.ModelProto:
    graph = GraphBuilder(name, seed=seed)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    weight = graph.weight(32, sum(sizes), scale=32**-0.5)
    bias = graph.weight(sum(sizes), scale=0.5, name="bias")
    extra = {"qkv_hidden_sizes": sizes} if stated else {}
    y = graph.node("Attention", x, weight, bias, domain=MICROSOFT, num_heads=4, **extra)
    y = graph.node("Add", x, graph.linear(y, sizes[2], 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def multi_head_operator() -> onnx.ModelProto:
    """com.microsoft MultiHeadAttention with its bias and a bias per head on the scores."""
    graph = GraphBuilder("multi_head_operator", seed=148)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    parts = [graph.linear(x, 32, width) for width in (32, 32, 16)]
    bias = graph.weight(80, scale=0.5, name="bias")
    scores = graph.weight(1, 4, 8, 8, name="position")
    inputs = [*parts, bias, "", scores]
    y = graph.node("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=4)
    y = graph.node("Add", x, graph.linear(y, 16, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def multi_head_crossed() -> onnx.ModelProto:
    """The same operator on keys and values that already have an axis for their heads."""
    graph = GraphBuilder("multi_head_crossed", seed=149)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    memory = graph.input((BATCH, 6, 24), "memory")
    key, value = (
        graph.transpose(graph.reshape(graph.linear(memory, 24, 32), [0, 6, 4, 8]), [0, 2, 1, 3])
        for _ in range(2)
    )
    inputs = [graph.linear(x, 32, 32), key, value]
    y = graph.node("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=4)
    y = graph.node("Add", x, graph.linear(y, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def grouped_query_operator() -> onnx.ModelProto:
    """com.microsoft GroupQueryAttention: eight query heads, two of keys and values, rotary."""
    graph = GraphBuilder("grouped_query_operator", seed=150)
    x = graph.linear(graph.input((1, 8, 32)), 32, 32)
    parts = [graph.linear(x, 32, width) for width in (128, 32, 32)]
    return _grouped_query(graph, x, parts)


def grouped_query_packed() -> onnx.ModelProto:
    """The same with one projection for query, key and value."""
    graph = GraphBuilder("grouped_query_packed", seed=154)
    x = graph.linear(graph.input((1, 8, 32)), 32, 32)
    return _grouped_query(graph, x, [graph.linear(x, 32, 192), "", ""])


def _grouped_query(graph: GraphBuilder, x: str, parts: list[str]) -> onnx.ModelProto:
    lengths = graph.integers([7]), graph.integers(8)
    inputs = [*parts, "", "", *lengths, *_angles(graph, 8, 16)]
    heads = {"num_heads": 8, "kv_num_heads": 2, "do_rotary": 1}
    names = graph.nodes("GroupQueryAttention", *inputs, outputs=3, domain=MICROSOFT, **heads)
    y = residual_mlp(graph, graph.node("Add", x, graph.linear(names[0], 128, 32)))
    pooled = graph.node("ReduceMean", y, axes=[1], keepdims=0)
    graph.output(graph.gemm(pooled, 32, 10), (1, 10))
    return graph.build()


def rotary_operator() -> onnx.ModelProto:
    """com.microsoft RotaryEmbedding before MultiHeadAttention."""
    graph = GraphBuilder("rotary_operator", seed=151)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    query, key, value = (graph.linear(x, 32, 32) for _ in range(3))
    zero, angles = graph.constant([0]), _angles(graph, 8)
    query, key = (
        graph.node("RotaryEmbedding", part, zero, *angles, domain=MICROSOFT, num_heads=4)
        for part in (query, key)
    )
    y = graph.node("MultiHeadAttention", query, key, value, domain=MICROSOFT, num_heads=4)
    y = graph.node("Add", x, graph.linear(y, 32, 32))
    classify_tokens(graph, residual_mlp(graph, y), 32)
    return graph.build()


def attention_opset23() -> onnx.ModelProto:
    """Attention and RotaryEmbedding of opset 23 on packed tensors: 8 query heads for 2 of keys."""
    graph = GraphBuilder("attention_opset23", seed=152, opset=23)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    query, key, value = (graph.linear(x, 32, width) for width in (64, 16, 16))
    y = graph.node("Attention", query, key, value, q_num_heads=8, kv_num_heads=2, is_causal=1)
    y = graph.node("Add", x, graph.linear(y, 64, 32))
    inner = graph.linear(graph.node("Mish", graph.linear(y, 32, 48)), 48, 32)
    y = graph.node("Add", y, inner)
    pooled = graph.node("ReduceMean", y, graph.constant([1]), keepdims=0)
    graph.output(graph.gemm(pooled, 32, 10), (BATCH, 10))
    return graph.build()


def attention_opset23_heads() -> onnx.ModelProto:
    """The same operator with heads on an axis of their own, a mask per head, rotary before it."""
    graph = GraphBuilder("attention_opset23_heads", seed=153, opset=23)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    query, key, value = (
        graph.transpose(graph.reshape(graph.linear(x, 32, 32), [0, 8, 4, 8]), [0, 2, 1, 3])
        for _ in range(3)
    )
    zeros = graph.node("Expand", graph.constant([[0]]), _batch_by(graph, x, 8))
    turned = [
        graph.node("RotaryEmbedding", part, *_angles(graph, 8), zeros) for part in (query, key)
    ]
    mask = graph.weight(1, 4, 8, 8, name="position")
    y = graph.node("Attention", *turned, value, mask)
    y = graph.reshape(graph.transpose(y, [0, 2, 1, 3]), [0, 8, 32])
    y = graph.node("Add", x, graph.linear(y, 32, 32))
    pooled = graph.node("ReduceMean", y, graph.constant([1]), keepdims=0)
    graph.output(graph.gemm(pooled, 32, 10), (BATCH, 10))
    return graph.build()


def _batch_by(graph: GraphBuilder, x: str, length: int) -> str:
    batch = graph.node("Shape", x, start=0, end=1)
    return graph.node("Concat", batch, graph.constant([length]), axis=0)


def _angles(graph: GraphBuilder, positions: int, size: int = 8) -> tuple[str, str]:
    """Cosines and sines of the usual rotary angles."""
    rates = 10.0 ** -np.arange(size // 2)
    angles = np.arange(positions)[:, None] * rates
    return graph.constant(np.cos(angles)), graph.constant(np.sin(angles))


CASES = (
    fused_conv,
    fused_conv_branch,
    fused_activations,
    fused_matmul,
    skip_layer_normalization,
    embed_layer_normalization,
    fused_encoder,
    fused_norms_without_means,
    attention_operator,
    attention_operator_uneven,
    multi_head_operator,
    multi_head_crossed,
    grouped_query_operator,
    grouped_query_packed,
    rotary_operator,
    attention_opset23,
    attention_opset23_heads,
)
