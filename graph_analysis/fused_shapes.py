"""Shapes of the operators that the onnx package has no definition of (ONNX Runtime's own)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]
_Rule = Callable[[Sequence[Shape | None], Mapping[str, Any]], list[Shape]]

# fused operators whose output has the shape that a standard operator of the first inputs makes
STANDARD = {"FusedConv": ("Conv", 3), "FusedGemm": ("Gemm", 3)}


def fused_shapes(
    op_type: str, inputs: Sequence[Shape | None], attributes: Mapping[str, Any]
) -> list[Shape]:
    """Shapes of the outputs, as far as they are known; empty if nothing is."""
    rule = _RULES.get(op_type)
    if rule is None or not inputs or inputs[0] is None:
        return []
    try:
        found = rule(inputs, attributes)
    except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return []  # operands that do not fit: whoever runs the model will say so
    # an attribute of another type than the operator's makes lengths that are no numbers
    lengths: list[Any] = [length for shape in found for length in shape]
    return found if all(isinstance(n, int) and n >= 0 for n in lengths) else []


def _known(shape: Shape | None) -> Shape:
    if shape is None:
        raise ValueError
    return shape


def _same(inputs: Sequence[Shape | None], _: Mapping[str, Any]) -> list[Shape]:
    return [_known(inputs[0])]


def _layer_norm(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    x = _known(inputs[0])
    start = attributes.get("axis", -1) % len(x)
    statistics = (*x[:start], *[1] * (len(x) - start))
    return [x, statistics, statistics, x]


def _embed(inputs: Sequence[Shape | None], _: Mapping[str, Any]) -> list[Shape]:
    ids, table = _known(inputs[0]), _known(inputs[2])
    out = (*ids, table[1])
    return [out, (ids[0],), out]


def _binary(inputs: Sequence[Shape | None], _: Mapping[str, Any]) -> list[Shape]:
    return [tuple(np.broadcast_shapes(_known(inputs[0]), _known(inputs[3])))]


def _global_pool(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    x = _known(inputs[0])
    if attributes.get("channels_last"):
        return [(x[0], *[1] * (len(x) - 2), x[-1])]
    return [(*x[:2], *[1] * (len(x) - 2))]


def _concat(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    parts = [_known(shape) for shape in inputs[2::3]]
    axis = attributes["axis"] % len(parts[0])
    joined = list(parts[0])
    joined[axis] = sum(part[axis] for part in parts)
    return [tuple(joined)]


def _qgemm(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    a, b = _known(inputs[0]), _known(inputs[3])
    return [(a[attributes.get("transA", 0)], b[1 - attributes.get("transB", 0)])]


def _matmul(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    left, right = (list(_known(shape)) for shape in inputs[:2])
    if attributes.get("transBatchA") or attributes.get("transBatchB"):
        return []
    if attributes.get("transA") and len(left) > 1:
        left[-2:] = left[:-3:-1]
    if attributes.get("transB") and len(right) > 1:
        right[-2:] = right[:-3:-1]
    if min(len(left), len(right)) < 2 or left[-1] != right[-2]:
        return []
    batch = np.broadcast_shapes(tuple(left[:-2]), tuple(right[:-2]))
    return [(*batch, left[-2], right[-1])]


def _attention(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    x, weight = _known(inputs[0]), _known(inputs[1])
    sizes = attributes.get("qkv_hidden_sizes") or [weight[1] // 3] * 3
    heads = attributes["num_heads"]
    past = inputs[4] if len(inputs) > 4 else None
    length = x[1] + (past[3] if past else 0)
    return [(x[0], x[1], sizes[2]), (2, x[0], heads, length, sizes[0] // heads)]


def _multi_head(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    query, heads = _known(inputs[0]), attributes["num_heads"]
    value = next((shape for shape in (inputs[2:3] or [None]) if shape), None)
    packed = query if len(query) == 5 else inputs[1] if value is None else None
    if packed is not None:
        width = packed[2] * packed[4]
        return [(query[0], query[1], width)]
    value = _known(value)
    width = value[2] if len(value) == 3 else value[1] * value[3]
    past = inputs[6] if len(inputs) > 6 else None
    length = value[1 if len(value) == 3 else 2] + (past[2] if past else 0)
    present = [(query[0], heads, length, w // heads) for w in (query[2], width)]
    return [(query[0], query[1], width), *present]


def _grouped_query(inputs: Sequence[Shape | None], attributes: Mapping[str, Any]) -> list[Shape]:
    query = _known(inputs[0])
    heads, groups = attributes["num_heads"], attributes["kv_num_heads"]
    is_packed = len(inputs) < 2 or inputs[1] is None
    size = query[2] // (heads + 2 * groups if is_packed else heads)
    past = inputs[3] if len(inputs) > 3 else None
    present = (query[0], groups, query[1] + (past[2] if past else 0), size)
    return [(query[0], query[1], heads * size), present, present]


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        [
            "BiasGelu",
            "DequantizeLinear",
            "FastGelu",
            "Gelu",
            "QuantizeLinear",
            "QuickGelu",
            "RotaryEmbedding",
        ],
        _same,
    ),
    "Attention": _attention,
    "EmbedLayerNormalization": _embed,
    "FusedMatMul": _matmul,
    "GroupQueryAttention": _grouped_query,
    "MultiHeadAttention": _multi_head,
    "QGemm": _qgemm,
    "QLinearAdd": _binary,
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _global_pool,
    "QLinearLeakyRelu": _same,
    "QLinearMul": _binary,
    "QLinearSigmoid": _same,
    **dict.fromkeys(
        [
            "LayerNormalization",
            "SimplifiedLayerNormalization",
            "SkipLayerNormalization",
            "SkipSimplifiedLayerNormalization",
        ],
        _layer_norm,
    ),
}
