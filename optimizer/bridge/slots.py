"""Where operators of ONNX Runtime's own domain (com.microsoft) hold trainable weights.

Kept apart from ``roles`` because the same name means another operator there: Attention of the
standard domain has no weights of its own, the one of com.microsoft projects its input.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["weight", "operand", "state", "start"]

MICROSOFT = "com.microsoft"
_QUERY_KEY_VALUE: Mapping[int, Role] = {0: "operand", 1: "operand", 2: "operand"}

# Operator -> input -> role. An operand is a weight if it is no mask and has several elements.
MICROSOFT_SLOTS: Mapping[str, Mapping[int, Role]] = {
    "Attention": {1: "weight", 2: "weight", 5: "operand"},
    "BiasGelu": {1: "weight"},
    "BiasSoftmax": {1: "operand"},
    "EmbedLayerNormalization": dict.fromkeys(range(2, 7), "weight"),
    "FastGelu": {1: "weight"},
    "FusedConv": {1: "weight", 2: "weight", 3: "operand"},
    "FusedGemm": {0: "weight", 1: "weight", 2: "weight"},
    "FusedMatMul": {0: "weight", 1: "weight"},
    "GroupQueryAttention": {**_QUERY_KEY_VALUE, 10: "operand", 11: "weight"},
    "MultiHeadAttention": {**_QUERY_KEY_VALUE, 3: "weight", 5: "operand"},
    "NhwcFusedConv": {1: "weight", 2: "weight", 3: "operand"},
    "SkipLayerNormalization": {
        0: "operand",
        1: "operand",
        2: "weight",
        3: "weight",
        4: "weight",
    },
    "SkipSimplifiedLayerNormalization": {0: "operand", 1: "operand", 2: "weight", 3: "weight"},
    "TransposeMatMul": {0: "weight", 1: "weight"},
}
