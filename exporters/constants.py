"""Sizes written into the graph: every operator that is told a shape is told the new one.

The rule for all of them: evaluate the operand as the draft stands, compare it with what the new
shapes demand, and wish for the difference. An operand that is computed from the shape of a cut
tensor has followed by itself, and nothing is touched. Operators that address *positions* (Slice,
Split, Gather, Pad) are in ``positions``; counts in attributes (``group``) in ``attributes``.
"""

from collections.abc import Callable, Container, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.draft import get_attribute, normalised
from exporters.errors import SurgeryError
from exporters.operands import Operands, differing
from exporters.shape_values import SMALL
from exporters.weights import to_array

Rule = Callable[[Operands, onnx.NodeProto], None]

_INTEGERS = frozenset({onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL})
_NUMBERS = _INTEGERS | {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
}
_FEW = 16  # elements of a float constant that may still be a divisor or an exponent


def reshape(operands: Operands, node: onnx.NodeProto) -> None:
    """An entry per axis of the output; -1 follows, 0 copies the input's length if that is right."""
    target = operands.now(node, 1, "shape")
    shape = operands.draft.shape(node.output[0])
    if target is None or shape is None:
        return
    before = operands.draft.shape(node.input[0])
    copies = not get_attribute(node, "allowzero", 0)
    wanted = target.copy()
    for axis, entry in enumerate(target):
        if entry == -1:
            continue
        copied = entry == 0 and copies
        if copied and (before is None or (axis < len(before) and before[axis] == shape[axis])):
            continue
        if entry != shape[axis] and axis in operands.draft.free.get(node.output[0], ()):
            wanted[axis] = -1  # positions of every sample of a free batch
        else:
            wanted[axis] = shape[axis]
    if differing(target, wanted):
        if np.count_nonzero(wanted == -1) > 1:
            message = f"Reshape {node.name!r} would have to compute two of its lengths"
            raise SurgeryError(message, param=node.name)
        operands.want(node, 1, wanted, "shape")


def expand(operands: Operands, node: onnx.NodeProto) -> None:
    """Right-aligned entries; 1 keeps the input's length."""
    target = operands.now(node, 1)
    shape, given = (
        operands.draft.shape(node.output[0]),
        operands.draft.shape(node.input[0]),
    )
    if target is None or shape is None or given is None:
        return
    padded = (1,) * (len(shape) - len(given)) + given
    wanted = target.copy()
    for index, entry in enumerate(target):
        axis = index + len(shape) - len(target)
        if entry in (1, -1) and padded[axis] == shape[axis]:
            continue
        wanted[index] = shape[axis]
    if differing(target, wanted):
        operands.want(node, 1, wanted)


def constant_of_shape(operands: Operands, node: onnx.NodeProto) -> None:
    """The operand is the shape of the output."""
    target, shape = operands.now(node, 0), operands.draft.shape(node.output[0])
    if target is not None and shape is not None and differing(target, shape):
        operands.want(node, 0, np.asarray(shape, target.dtype))


def tile(operands: Operands, node: onnx.NodeProto) -> None:
    """Repeats stay where the input was cut alike; a spread-out single position is repeated less."""
    repeats = operands.now(node, 1)
    shape, given = (
        operands.draft.shape(node.output[0]),
        operands.draft.shape(node.input[0]),
    )
    if repeats is None or shape is None or given is None:
        return
    wanted = repeats.copy()
    for axis, length in enumerate(given):
        if length * repeats[axis] != shape[axis]:
            if length != 1:
                message = f"Tile {node.name!r} repeats positions of axis {axis} that went apart"
                raise SurgeryError(message, param=node.name)
            wanted[axis] = shape[axis]
    if differing(repeats, wanted):
        operands.want(node, 1, wanted)


def resize(operands: Operands, node: onnx.NodeProto) -> None:
    """``sizes`` of a cut axis; ``scales`` are ratios and stay, also where they are computed."""
    slot = 1 if operands.draft.opset < 11 else 2
    was, now = operands.before(node, slot), operands.now(node, slot)
    if was is not None and now is not None and _changed(now, was):
        operands.want(node, slot, was)
    sizes, shape = operands.now(node, 3), operands.draft.shape(node.output[0])
    if sizes is None or shape is None:
        return
    axes = get_attribute(node, "axes", list(range(len(shape))))
    cut = operands.draft.keep.get(node.output[0], {})
    wanted = sizes.copy()
    for index, axis in enumerate(axes):
        if normalised(axis, len(shape)) in cut:
            wanted[index] = shape[axis]
    if differing(sizes, wanted):
        operands.want(node, 3, wanted)


RULES: Mapping[str, Rule] = {
    "Reshape": reshape,
    "Expand": expand,
    "ConstantOfShape": constant_of_shape,
    "Tile": tile,
    "Resize": resize,
    "Upsample": resize,
}

# Inputs that are sizes, bounds or axes: never data, so never frozen at their old value.
_SIZES: Mapping[str, frozenset[int]] = {
    "Reshape": frozenset({1}),
    "Expand": frozenset({1}),
    "ConstantOfShape": frozenset({0}),
    "Tile": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Upsample": frozenset({1}),
    "Pad": frozenset({1, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "Gather": frozenset({1}),
    "CenterCropPad": frozenset({1}),
    "Range": frozenset({0, 1, 2}),
}


def freeze_data(operands: Operands, node: onnx.NodeProto) -> None:
    """Numbers computed from a shape and used as *data* keep the value they had before the cut.

    An exporter that computes the attention scale as ``1 / sqrt(shape[-1])`` means the size that
    the network was trained with; the masked model uses it, so must the cut one.
    """
    draft = operands.draft
    if all(name in draft.after for name in node.output if name):
        return  # part of the arithmetic itself
    sizes = _SIZES.get(node.op_type, frozenset())
    origin = draft.origin[node.name]
    for slot, name in enumerate(node.input):
        if not name or slot in sizes or name in draft.initializers or name in draft.keep:
            continue
        if slot >= len(origin.input):
            continue
        now, was = draft.after.get(name), draft.before.get(origin.input[slot])
        if now is not None and was is not None and _changed(now, was):
            operands.want(node, slot, was)


def _changed(now: npt.NDArray[Any], was: npt.NDArray[Any]) -> bool:
    return now.shape == was.shape and not np.array_equal(now, was)


def small_constants(
    initializers: Mapping[str, onnx.TensorProto], settings: Container[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Initializers that may take part in shape arithmetic, by name: integers and a few numbers.

    Args:
        initializers: By name.
        settings: Those that only settings are made from: more numbers of any type than usual.
    """
    result = {}
    for name, tensor in initializers.items():
        limit = SMALL if tensor.data_type in _INTEGERS or name in settings else _FEW
        if np.prod(tensor.dims, dtype=np.int64) <= limit and tensor.data_type in _NUMBERS:
            result[name] = to_array(tensor)
    return result
