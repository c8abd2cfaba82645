"""Counts in attributes that follow from the cut: groups of a convolution, hidden size, norm groups.

What follows from the weights is read from the weights as they are after the cut, so a count can
never say something that the tensors beside it do not.
"""

from collections.abc import Mapping

import numpy as np
import onnx

from exporters.constants import Rule
from exporters.draft import Draft, get_attribute, set_attribute
from exporters.errors import SurgeryError
from exporters.operands import Operands
from graph_analysis.trace_graph import STATE_SLOTS

_CONV_WEIGHT = {"Conv": 1, "ConvInteger": 1, "FusedConv": 1, "QLinearConv": 3}


def conv_groups(operands: Operands, node: onnx.NodeProto) -> None:
    """``group`` = input channels / channels that one filter sees (weight axis 1)."""
    if get_attribute(node, "group", 1) > 1:
        channels = _length(operands.draft, node.input[0], 1, node)
        weight = node.input[_CONV_WEIGHT[node.op_type]]
        _set_groups(node, channels, _length(operands.draft, weight, 1, node))


def conv_transpose_groups(operands: Operands, node: onnx.NodeProto) -> None:
    """``group`` = output channels / channels that one filter makes (weight axis 1)."""
    if get_attribute(node, "group", 1) > 1:
        channels = _length(operands.draft, node.output[0], 1, node)
        _set_groups(node, channels, _length(operands.draft, node.input[1], 1, node))


def _set_groups(node: onnx.NodeProto, channels: int, per_group: int) -> None:
    after, rest = divmod(channels, per_group)
    if rest:
        message = f"{node.op_type} {node.name!r}: {channels} channels in groups of {per_group}"
        raise SurgeryError(message, param=node.name)
    if after != get_attribute(node, "group"):
        set_attribute(node, "group", after)


def _length(draft: Draft, tensor: str, axis: int, node: onnx.NodeProto) -> int:
    shape = draft.shape(tensor)
    if shape is None:
        message = f"{node.op_type} {node.name!r}: the shape of {tensor!r} is unknown"
        raise SurgeryError(message, param=node.name)
    return shape[axis]


def norm_groups(operands: Operands, node: onnx.NodeProto) -> None:
    """``num_groups`` of GroupNormalization: whole groups go, never a part of one."""
    draft, tensor = operands.draft, operands.draft.origin[node.name].input[0]
    if 1 not in draft.keep.get(tensor, {}):
        return
    before = get_attribute(node, "num_groups")
    size = draft.shapes_before[tensor][1] // before
    left = np.bincount(draft.kept(tensor, 1) // size, minlength=before)
    if not np.all(np.isin(left, (0, size))):
        message = f"GroupNormalization {node.name!r} would lose a part of a group"
        raise SurgeryError(message, param=node.name)
    set_attribute(node, "num_groups", int(np.sum(left > 0)))


def hidden_size(operands: Operands, node: onnx.NodeProto) -> None:
    """``hidden_size`` of a recurrent operator: the last axis of its recurrence weight.

    An initial state of zeros would keep its old width; the operator starts from zeros without one.
    """
    draft = operands.draft
    if get_attribute(node, "hidden_size") is not None:
        size = _length(draft, node.input[2], 2, node)
        if size != get_attribute(node, "hidden_size"):
            set_attribute(node, "hidden_size", size)
    origin = draft.origin[node.name]
    if 2 in draft.keep.get(origin.input[2], {}):
        for slot in STATE_SLOTS[node.op_type]:
            if slot < len(node.input) and origin.input[slot] in draft.zeros:
                node.input[slot] = ""


RULES: Mapping[str, Rule] = {
    "Conv": conv_groups,
    "ConvInteger": conv_groups,
    "QLinearConv": conv_groups,
    "ConvTranspose": conv_transpose_groups,
    "GroupNormalization": norm_groups,
    "LSTM": hidden_size,
    "GRU": hidden_size,
    "RNN": hidden_size,
}
FUSED: Mapping[str, Rule] = {"FusedConv": conv_groups}
