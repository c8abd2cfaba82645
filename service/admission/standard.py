"""The standard operators that a tensor network can be made of: the fallback for a missing list."""

import onnx

_NEVER_TRAINABLE = (
    "Sequence", "Optional", "SplitToSequence", "ConcatFromSequence", "String", "Regex", "Image",
    "TfIdf", "QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "ConvInteger",
    "MatMulInteger",
)  # fmt: skip


def standard_operators() -> frozenset[tuple[str, str]]:
    """(domain, name) of the default domain's operators, without strings, lists and integers."""
    schemas = onnx.defs.get_all_schemas_with_history()
    names = {schema.name for schema in schemas if schema.domain == ""}
    return frozenset(("", name) for name in names if not name.startswith(_NEVER_TRAINABLE))
