"""Operators that address positions along a cut axis: their bounds, sizes and indices move.

All rules read positions in the coordinates of the file (``Draft.origin``, ``Draft.kept``) and
write them in those of the cut model: a position's new number is its rank among those that stay.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.draft import Draft, drop_attribute, get_attribute, normalised
from exporters.errors import SurgeryError
from exporters.operands import Operands, differing
from exporters.weights import Indices

_ALL = np.iinfo(np.int64).max  # "to the end", as exporters write it
_BEFORE_FIRST = np.iinfo(np.int64).min  # end of a backward slice that includes position 0


def slice_bounds(operands: Operands, node: onnx.NodeProto) -> None:
    """Start, end and step per cut axis; what is no progression any more becomes a Gather."""
    draft, origin = operands.draft, operands.draft.origin[node.name]
    cut = draft.keep.get(origin.input[0], {})
    if not cut:
        return
    rank = len(draft.shapes_before[origin.input[0]])
    starts, ends, axes, steps = _bounds(operands, node, rank)
    if starts is None or ends is None or axes is None or steps is None:
        if set(cut) & _moved(draft, origin):
            msg = f"Slice {node.name!r} cuts at computed bounds"
            raise SurgeryError(msg, param=node.name)
        return
    for index, raw_axis in enumerate(axes):
        axis = normalised(int(raw_axis), rank)
        if axis in cut:
            bounds = slice(int(starts[index]), int(ends[index]), int(steps[index]))
            wanted = _slice_on(draft, node, origin, axis, bounds)
            starts[index], ends[index], steps[index] = wanted
    _write_bounds(operands, node, starts, ends, steps)


def _moved(draft: Draft, origin: onnx.NodeProto) -> set[int]:
    """Axes along which the output is not simply the whole input."""
    before, after = (draft.shapes_before.get(n, ()) for n in (origin.input[0], origin.output[0]))
    return {axis for axis, (a, b) in enumerate(zip(before, after, strict=False)) if a != b}


def _bounds(
    operands: Operands, node: onnx.NodeProto, rank: int
) -> tuple[npt.NDArray[Any] | None, ...]:
    starts, ends = operands.before(node, 1, "starts"), operands.before(node, 2, "ends")
    axes, steps = operands.before(node, 3, "axes"), operands.before(node, 4)
    if starts is not None:
        starts = starts.copy()
        if axes is None and not _has_input(node, 3):
            axes = np.arange(min(rank, len(starts)))
        if steps is None and not _has_input(node, 4):
            steps = np.ones(len(starts), starts.dtype)
    return starts, None if ends is None else ends.copy(), axes, _copy(steps)


def _copy(values: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    return None if values is None else values.copy()


def _has_input(node: onnx.NodeProto, slot: int) -> bool:
    return slot < len(node.input) and bool(node.input[slot])


def _slice_on(
    draft: Draft, node: onnx.NodeProto, origin: onnx.NodeProto, axis: int, bounds: slice
) -> tuple[int, int, int]:
    """New bounds on one axis; appends a Gather behind ``node`` where bounds cannot say it."""
    kept = draft.kept(origin.input[0], axis)
    length = draft.shapes_before[origin.input[0]][axis]
    selected = np.arange(length)[bounds][draft.kept(origin.output[0], axis)]
    wanted = _renumber(kept, selected, node)
    if np.array_equal(np.arange(len(kept))[bounds], wanted):
        return bounds.start, bounds.stop, bounds.step
    if len(wanted) == 0:
        return 0, 0, 1
    step = int(wanted[1] - wanted[0]) if len(wanted) > 1 else 1
    if np.all(np.diff(wanted) == step) and (step == 1 or _has_input(node, 4)):
        stop = int(wanted[-1]) + (1 if step > 0 else -1)
        return int(wanted[0]), stop if stop >= 0 else _BEFORE_FIRST, step
    _gather_behind(draft, node, axis, wanted)
    return 0, _ALL, 1


def _gather_behind(draft: Draft, node: onnx.NodeProto, axis: int, wanted: Indices) -> None:
    name = node.output[0]
    node.output[0] = draft.free_name(f"{name}__whole")
    indices = draft.add_constant(f"{name}__indices", wanted)
    gather = onnx.helper.make_node(
        "Gather",
        [node.output[0], indices],
        [name],
        name=draft.free_name(f"{node.name}__gather"),
        axis=axis,
    )
    draft.insert_after(node, gather)


def _write_bounds(
    operands: Operands,
    node: onnx.NodeProto,
    starts: npt.NDArray[Any],
    ends: npt.NDArray[Any],
    steps: npt.NDArray[Any],
) -> None:
    for slot, attribute, wanted in ((1, "starts", starts), (2, "ends", ends)):
        if differing(operands.now(node, slot, attribute), wanted):
            operands.want(node, slot, wanted, attribute)
    if _has_input(node, 4) and differing(operands.now(node, 4), steps):
        operands.want(node, 4, steps)


def split_sizes(operands: Operands, node: onnx.NodeProto) -> None:
    """How much of each part stays; equal parts that became unequal are stated from now on."""
    draft, origin = operands.draft, operands.draft.origin[node.name]
    source = origin.input[0]
    axis = normalised(get_attribute(node, "axis", 0), len(draft.shapes_before[source]))
    if axis not in draft.keep.get(source, {}):
        return
    sizes = operands.before(node, 1, "split")
    if sizes is None:
        if _has_input(node, 1):
            msg = f"Split {node.name!r} has computed sizes"
            raise SurgeryError(msg, param=node.name)
        sizes = _equal_parts(draft.shapes_before[source][axis], len(node.output))
    edges = np.concatenate([[0], np.cumsum(sizes)])
    wanted = np.diff(np.searchsorted(draft.kept(source, axis), edges))
    stated = operands.now(node, 1, "split")
    if stated is not None:
        if differing(stated, wanted):
            operands.want(node, 1, wanted.astype(stated.dtype), "split")
    elif not _implied(node, wanted):
        _state_sizes(draft, node, wanted)


def _implied(node: onnx.NodeProto, sizes: npt.NDArray[Any]) -> bool:
    """Whether a Split without sizes makes just these parts."""
    if get_attribute(node, "num_outputs") is None:
        return bool(np.all(sizes == sizes[0]))
    return np.array_equal(_equal_parts(int(sizes.sum()), len(sizes)), sizes)


def _equal_parts(length: int, parts: int) -> npt.NDArray[np.int64]:
    size = -(-length // parts)  # ONNX: all equal, the last one smaller if it must be
    sizes = np.full(parts, size, np.int64)
    sizes[-1] = length - size * (parts - 1)
    return sizes


def _state_sizes(draft: Draft, node: onnx.NodeProto, sizes: npt.NDArray[Any]) -> None:
    drop_attribute(node, "num_outputs")
    if draft.opset < 13:
        node.attribute.append(onnx.helper.make_attribute("split", [int(s) for s in sizes]))
        return
    del node.input[1:]
    node.input.append(draft.add_constant(f"{node.name}__split", sizes.astype(np.int64)))


def gather_indices(operands: Operands, node: onnx.NodeProto) -> None:
    """Constant indices into a cut axis: those of removed positions go, the rest moves up."""
    draft, origin = operands.draft, operands.draft.origin[node.name]
    shape = draft.shapes_before.get(origin.input[0])
    if shape is None or origin.input[0] not in draft.keep:
        return
    axis = normalised(get_attribute(node, "axis", 0), len(shape))
    if axis not in draft.keep[origin.input[0]]:
        return
    indices = operands.before(node, 1)
    if indices is None:
        message = f"Gather {node.name!r} picks from a cut axis by indices known only at run time"
        raise SurgeryError(message, param=node.name)
    wanted = np.where(indices < 0, indices + shape[axis], indices)
    for offset in range(indices.ndim):
        kept = draft.kept(origin.output[0], axis + offset)
        wanted = np.take(wanted, kept, axis=offset)
    wanted = _renumber(draft.kept(origin.input[0], axis), wanted, node).astype(indices.dtype)
    now = operands.now(node, 1)
    if now is None or not np.array_equal(now, wanted):
        operands.want(node, 1, wanted)


def pads(operands: Operands, node: onnx.NodeProto) -> None:
    """Padding along a cut axis: as much of it as stays; a negative pad crops what is left."""
    draft, origin = operands.draft, operands.draft.origin[node.name]
    source, target = origin.input[0], origin.output[0]
    shape = draft.shapes_before[source]
    cut = set(draft.keep.get(source, {})) | set(draft.keep.get(target, {}))
    amounts = operands.before(node, 1, "pads")
    if not cut or amounts is None:
        return
    wanted = amounts.copy()
    axes = _pad_axes(operands, node, len(shape))
    for index, axis in enumerate(axes):
        if axis in cut:
            first, last = index, index + len(axes)
            kept_in, kept_out = draft.kept(source, axis), draft.kept(target, axis)
            begin, end = int(amounts[first]), int(amounts[last])
            added, cropped = kept_out < begin, kept_in < -begin
            wanted[first] = np.sum(added) if begin > 0 else -int(np.sum(cropped))
            added, cropped = (
                kept_out >= shape[axis] + begin,
                kept_in >= shape[axis] + end,
            )
            wanted[last] = np.sum(added) if end > 0 else -int(np.sum(cropped))
    if differing(operands.now(node, 1, "pads"), wanted):
        operands.want(node, 1, wanted, "pads")


def _pad_axes(operands: Operands, node: onnx.NodeProto, rank: int) -> list[int]:
    axes = operands.before(node, 3)
    return list(range(rank)) if axes is None else [normalised(int(a), rank) for a in axes]


def _renumber(
    kept: Indices, positions: npt.NDArray[np.int64], node: onnx.NodeProto
) -> npt.NDArray[np.int64]:
    """New numbers of old ``positions``.

    Raises:
        SurgeryError: ``node`` still needs a position that is removed.
    """
    numbers = np.searchsorted(kept, positions)
    present = numbers < len(kept)
    if not np.all(present) or not np.array_equal(kept[numbers], positions):
        message = f"{node.op_type} {node.name!r} needs positions that the solution removes"
        raise SurgeryError(message, param=node.name)
    return np.asarray(numbers, np.int64)


RULES: Mapping[str, Any] = {
    "Slice": slice_bounds,
    "Split": split_sizes,
    "Gather": gather_indices,
    "Pad": pads,
}
