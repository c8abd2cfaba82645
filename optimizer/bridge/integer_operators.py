"""Operators that compute with integers: why a network of them cannot be trained."""

_NAMES = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "MatMulBnb4",
        "MatMulFpQ4",
        "MatMulInteger",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MulInteger",
        "QAttention",
        "QEmbedLayerNormalization",
        "QGemm",
        "QMoE",
        "ReduceSumInteger",
    }
)
_PREFIXES = ("QLinear", "QOrdered")
NO_FLOAT_WEIGHTS = (
    "computes with integers, so there are no float weights to train; compress the float model and "
    "quantise the result"
)


def why_missing(op_type: str) -> str:
    """Return why an operator without a torch function has none, as a clause."""
    is_integer = op_type in _NAMES or op_type.startswith(_PREFIXES)
    return NO_FLOAT_WEIGHTS if is_integer else "has no torch function"
