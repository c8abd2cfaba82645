"""Numbers of heads in the attributes of attention operators, standard and com.microsoft.

Read from what is left of the tensors around the operator. Whole heads go, so the head size and with
it an implicit scale (1 / sqrt of the head size) stay what they were.
"""

from collections.abc import Mapping

import numpy as np
import onnx

from exporters.constants import Rule
from exporters.draft import get_attribute, set_attribute
from exporters.errors import SurgeryError
from exporters.operands import Operands


def attention(operands: Operands, node: onnx.NodeProto) -> None:
    """com.microsoft Attention: ``num_heads``, and ``qkv_hidden_sizes`` where they are stated."""
    draft, weight = operands.draft, operands.draft.origin[node.name].input[1]
    if 1 not in draft.keep.get(weight, {}):
        return
    stated = get_attribute(node, "qkv_hidden_sizes")
    width = draft.shapes_before[weight][1]
    sizes = np.asarray(stated if stated is not None else [width // 3] * 3)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    left = np.diff(np.searchsorted(draft.kept(weight, 1), edges))
    _set(node, "num_heads", int(left[0]), int(sizes[0]))
    if stated is not None:
        set_attribute(node, "qkv_hidden_sizes", [int(size) for size in left])


def multi_head(operands: Operands, node: onnx.NodeProto) -> None:
    """com.microsoft MultiHeadAttention: ``num_heads``, from the query's heads or its width."""
    query = operands.draft.origin[node.name].input[0]
    axis = 2  # heads of a packed query, else heads times head size
    after, before = _lengths(operands, query, axis)
    _set(node, "num_heads", after, before)


def grouped_query(operands: Operands, node: onnx.NodeProto) -> None:
    """com.microsoft GroupQueryAttention: heads of the query, and of key and value."""
    origin = operands.draft.origin[node.name]
    after, before = _lengths(operands, origin.output[0], 2)
    if len(origin.input) > 1 and origin.input[1]:
        key_after, key_before = _lengths(operands, origin.input[1], 2)
    else:
        packed_after, packed_before = _lengths(operands, origin.input[0], 2)
        key_after, key_before = packed_after - after, packed_before - before
    _set(node, "num_heads", after, before)
    _set(node, "kv_num_heads", key_after, key_before)


def standard(operands: Operands, node: onnx.NodeProto) -> None:
    """Attention of opset 23: the two numbers of heads, where packed inputs need them."""
    origin = operands.draft.origin[node.name]
    for name, slot in (("q_num_heads", 0), ("kv_num_heads", 1)):
        if get_attribute(node, name) is not None:
            if len(operands.draft.shapes_before[origin.input[slot]]) == 4:
                after, before = _lengths(operands, origin.input[slot], 1)
            else:
                after, before = _lengths(operands, origin.input[slot], 2)
            _set(node, name, after, before)


def rotary(operands: Operands, node: onnx.NodeProto) -> None:
    """RotaryEmbedding: ``num_heads``, where it is stated."""
    x = operands.draft.origin[node.name].input[0]
    if get_attribute(node, "num_heads", 0) > 0:
        axis = 1 if len(operands.draft.shapes_before[x]) == 4 else 2
        after, before = _lengths(operands, x, axis)
        _set(node, "num_heads", after, before)


def _lengths(operands: Operands, tensor: str, axis: int) -> tuple[int, int]:
    draft = operands.draft
    return len(draft.kept(tensor, axis)), draft.shapes_before[tensor][axis]


def _set(node: onnx.NodeProto, name: str, after: int, before: int) -> None:
    """Scale a number of heads by what is left of their positions."""
    if after == before:
        return
    heads, rest = divmod(get_attribute(node, name) * after, before)
    if rest:
        message = f"{node.op_type} {node.name!r} would lose a part of a head"
        raise SurgeryError(message, param=node.name)
    set_attribute(node, name, heads)


RULES: Mapping[str, Rule] = {"Attention": standard, "RotaryEmbedding": rotary}
MICROSOFT: Mapping[str, Rule] = {
    "Attention": attention,
    "GroupQueryAttention": grouped_query,
    "MultiHeadAttention": multi_head,
    "RotaryEmbedding": rotary,
}
