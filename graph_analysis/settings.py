"""Inputs that set an operator instead of feeding it: shapes, axes, bounds, scales, counts.

What a setting is put together from (Cast, Concat, Gather, Mul, ... of constants and of lengths) is
no data either: its positions are read by their number, so none of them may go, and none trains.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import onnx

# first input slot that sets the operator; and so do all after it, unless _UP_TO says less
_FROM: Mapping[str, int] = {
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"), 0),
    **dict.fromkeys(("ConstantOfShape", "Range"), 0),
    **dict.fromkeys(("CenterCropPad", "Clip", "Compress", "CumSum", "DFT", "Dropout", "Expand"), 1),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "Pad", "Reshape", "Resize"), 1),
    **dict.fromkeys(("ReverseSequence", "Slice", "Split", "SplitToSequence", "Squeeze"), 1),
    **dict.fromkeys(("Tile", "TopK", "Trilu", "Unsqueeze", "Upsample", "NonMaxSuppression"), 1),
    **dict.fromkeys(("OneHot", "Scatter", "ScatterElements", "ScatterND"), 1),
}
_UP_TO: Mapping[str, int] = {"Scatter": 1, "ScatterElements": 1, "ScatterND": 1}
_LENGTHS = frozenset({"Shape", "Size"})  # read no values


class Operation(NamedTuple):
    """An operator: its type, empty if it is none of the standard ones, and what it is tied to."""

    op_type: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def operations_of(nodes: Iterable[onnx.NodeProto]) -> list[Operation]:
    """The nodes of a graph as far as their settings are concerned."""
    return [
        Operation(node.op_type if node.domain in ("", "ai.onnx") else "", node.input, node.output)
        for node in nodes
    ]


def is_setting(op_type: str, slot: int) -> bool:
    """Whether an input of a standard operator sets it."""
    if op_type.startswith("Reduce"):
        return slot >= 1
    return _FROM.get(op_type, slot + 1) <= slot <= _UP_TO.get(op_type, slot)


def meeting_data(operations: Iterable[Operation], inputs: Iterable[str]) -> set[str]:
    """Tensors that depend on the values of ``inputs``, not on their lengths alone; and these."""
    found = set(inputs)
    for operation in operations:
        if operation.op_type not in _LENGTHS and not found.isdisjoint(operation.inputs):
            found.update(filter(None, operation.outputs))
    return found


def parts_of_settings(operations: Sequence[Operation], inputs: Iterable[str]) -> set[str]:
    """All settings and what they are made from, up to what is computed from data."""
    data = meeting_data(operations, inputs)
    found: set[str] = set()
    for operation in reversed(operations):
        makes = not found.isdisjoint(operation.outputs) and operation.op_type not in _LENGTHS
        for slot, name in enumerate(operation.inputs):
            made = makes and not data.issuperset(filter(None, operation.outputs))
            if name and (made or is_setting(operation.op_type, slot)):
                found.add(name)
    return found


def only_settings(
    operations: Sequence[Operation],
    inputs: Iterable[str],
    outputs: Iterable[str],
    more: Mapping[str, int] | None = None,
) -> set[str]:
    """Tensors that are settings or parts of settings and serve nothing else.

    Args:
        operations: In topological order.
        inputs: Tensors that hold data.
        outputs: Tensors that are results.
        more: Operator -> first input slot that counts as a setting as well.
    """
    more, results = more or {}, frozenset(outputs)
    data = meeting_data(operations, inputs)
    uses: dict[str, list[bool]] = defaultdict(list)
    for operation in reversed(operations):
        made = [name for name in operation.outputs if uses[name] or name in results]
        makes = bool(made) and all(
            name not in data and name not in results and all(uses[name]) for name in made
        )
        for slot, name in enumerate(operation.inputs):
            sets = is_setting(operation.op_type, slot)
            sets = sets or slot >= more.get(operation.op_type, slot + 1)
            uses[name].append(makes or sets)
    return {name for name, own in uses.items() if name and all(own) and own} - results
