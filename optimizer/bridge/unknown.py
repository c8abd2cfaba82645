"""Finds what has no torch function before anything is translated, also inside bodies."""

from collections.abc import Iterator, Mapping

import onnx

from graph_analysis.bodies import graphs_of
from optimizer.bridge.integer_operators import why_missing
from optimizer.bridge.registry import find
from optimizer.errors import UnsupportedOperator


def unknown_operators(
    node: onnx.NodeProto, opsets: Mapping[str, int]
) -> Iterator[UnsupportedOperator]:
    """Yield one entry for the node itself and for each node inside it that nothing translates.

    Args:
        node: With all its bodies, however deep.
        opsets: Version per domain that the model imports; the standard one is "ai.onnx".
    """
    opset = opsets.get(node.domain or "ai.onnx", 1)
    if find(node.domain, node.op_type, opset) is None:
        yield unsupported(node, opset, why_missing(node.op_type))
    for _, body in graphs_of(node):
        for inner in body.node:
            yield from unknown_operators(inner, opsets)


def unsupported(node: onnx.NodeProto, opset: int, reason: str) -> UnsupportedOperator:
    """Return the entry of one node."""
    return UnsupportedOperator(
        domain=node.domain,
        op_type=node.op_type,
        opset=opset,
        nodes=(node.name or next((name for name in node.output if name), node.op_type),),
        reason=reason,
    )


def untranslatable(error: Exception) -> str:
    """Return the reason of a node whose translation ended in an error that nobody foresaw."""
    lines = str(error).strip().splitlines()
    return (
        "has inputs or attributes that cannot be translated "
        f"({type(error).__name__}{': ' if lines else ''}{lines[0] if lines else ''})"
    )


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield every name that a node or a node inside it reads, its own bodies' names included."""
    yield from node.input
    for _, body in graphs_of(node):
        yield from (info.name for info in body.output)
        for inner in body.node:
            yield from names_read(inner)
