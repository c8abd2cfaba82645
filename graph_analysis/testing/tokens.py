"""Hard cases about tokens: patch embedding, residual MLPs, attention, channels-last blocks."""

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

TOKENS = (BATCH, 8, 32)  # eight tokens of width 32
HEADS, HEAD_SIZE = 4, 8


def patch_embed_permute() -> onnx.ModelProto:
    """Convolution 4x4/4, Flatten, Transpose to tokens, residual MLP, no normalisation."""
    graph = GraphBuilder("patch_embed_permute", seed=80)
    y = graph.patches(graph.input((BATCH, 3, 16, 16)), 3, 32, size=4)
    y = graph.transpose(graph.reshape(y, [0, 32, -1]), [0, 2, 1])
    _classify_tokens(graph, _residual_mlp(graph, y), 32)
    return graph.build()


def layernorm_mlp() -> onnx.ModelProto:
    """Pre-norm LayerNormalization, residual MLP."""
    graph = GraphBuilder("layernorm_mlp", seed=81)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    normed = _layer_norm(graph, x, 32)
    inner = graph.relu(graph.linear(normed, 32, 64))
    _classify_tokens(graph, graph.node("Add", x, graph.linear(inner, 64, 32)), 32)
    return graph.build()


def separate_qkv_heads() -> onnx.ModelProto:
    """Three projections viewed as four heads of eight, residual MLP, no normalisation."""
    graph = GraphBuilder("separate_qkv_heads", seed=82)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    query, key, value = (
        graph.reshape(graph.linear(x, 32, 32), [0, 8, HEADS, HEAD_SIZE]) for _ in range(3)
    )
    query, value = (graph.transpose(tensor, [0, 2, 1, 3]) for tensor in (query, value))
    mixed = _attend(graph, query, graph.transpose(key, [0, 2, 3, 1]), value)
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    _classify_tokens(graph, _residual_mlp(graph, y), 32)
    return graph.build()


def fused_qkv() -> onnx.ModelProto:
    """One projection 32 -> 96, viewed as (N, 8, 3, 4, 8), permuted, unbound; residual MLP."""
    graph = GraphBuilder("fused_qkv", seed=83)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    fused = graph.reshape(graph.linear(x, 32, 96), [0, 8, 3, HEADS, HEAD_SIZE])
    fused = graph.transpose(fused, [2, 0, 3, 1, 4])
    query, key, value = (
        graph.node("Gather", fused, graph.constant(np.int64(part)), axis=0) for part in range(3)
    )
    mixed = _attend(graph, query, graph.transpose(key, [0, 1, 3, 2]), value)
    y = graph.node("Add", x, graph.linear(mixed, 32, 32))
    _classify_tokens(graph, _residual_mlp(graph, y), 32)
    return graph.build()


def cls_token_concat_seq() -> onnx.ModelProto:
    """A class token expanded over the batch, concatenated on tokens, positions, token 0 read."""
    graph = GraphBuilder("cls_token_concat_seq", seed=84)
    x = graph.linear(graph.input(TOKENS), 32, 32)
    batch = graph.slice(graph.node("Shape", x), [0], [0], ends=[1])
    shape = graph.node("Concat", batch, graph.constant([-1, -1]), axis=0)
    shape = graph.node("Where", _is_minus_one(graph, shape), graph.constant([1, 1, 1]), shape)
    token = graph.node("Expand", graph.weight(1, 1, 32, name="cls"), shape)
    y = graph.node("Concat", token, x, axis=1)
    y = graph.node("Add", y, graph.weight(1, 9, 32, scale=0.3, name="positions"))
    y = _residual_mlp(graph, y)
    first = graph.node("Gather", y, graph.constant(np.int64(0)), axis=1)
    graph.output(graph.gemm(first, 32, 10), (BATCH, 10))
    return graph.build()


def linear_on_4d_channels_last() -> onnx.ModelProto:
    """ConvNeXt block: depthwise 7x7, to channels last, LayerNormalization, MLP, back, Add."""
    graph = GraphBuilder("linear_on_4d_channels_last", seed=85)
    x = graph.conv(graph.input((BATCH, 3, 16, 16)), 3, 32)
    y = graph.transpose(graph.conv(x, 32, 32, kernel=7, groups=32), [0, 2, 3, 1])
    y = graph.linear(_layer_norm(graph, y, 32), 32, 64)
    half = graph.node("Mul", y, graph.constant(0.5))
    erf = graph.node("Erf", graph.node("Mul", y, graph.constant(2**-0.5)))
    y = graph.node("Mul", half, graph.node("Add", erf, graph.constant(1.0)))
    y = graph.transpose(graph.linear(y, 64, 32), [0, 3, 1, 2])
    graph.classify(graph.node("Add", x, y), 32)
    return graph.build()


def _residual_mlp(graph: GraphBuilder, x: str) -> str:
    inner = graph.relu(graph.linear(x, 32, 64))
    return graph.node("Add", x, graph.linear(inner, 64, 32))


def _layer_norm(graph: GraphBuilder, x: str, width: int) -> str:
    scale = graph.weight(width, scale=0.2, shift=1.0, name="scale")
    return graph.node("LayerNormalization", x, scale, graph.weight(width, scale=0.3), axis=-1)


def _attend(graph: GraphBuilder, query: str, key_transposed: str, value: str) -> str:
    """Softmax(QK^T/sqrt(8))V; (N, heads, 8, 8) each, back to (N, 8, 32)."""
    scores = graph.node("MatMul", query, key_transposed)
    scores = graph.node("Mul", scores, graph.constant(HEAD_SIZE**-0.5))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    return graph.reshape(graph.transpose(mixed, [0, 2, 1, 3]), [0, 8, HEADS * HEAD_SIZE])


def _is_minus_one(graph: GraphBuilder, shape: str) -> str:
    return graph.node("Equal", shape, graph.constant([-1, -1, -1]))


def _classify_tokens(graph: GraphBuilder, x: str, width: int) -> None:
    pooled = graph.node("ReduceMean", x, axes=[1], keepdims=0)
    graph.output(graph.gemm(pooled, width, 10), (BATCH, 10))


CASES = (
    patch_embed_permute,
    layernorm_mlp,
    separate_qkv_heads,
    fused_qkv,
    cls_token_concat_seq,
    linear_on_4d_channels_last,
)
