"""Constants that look like weights by their place and are none: coordinates, anchors, frequencies.

Training them would move the pixels that an offset is counted from, or bend a rotation of positions.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx

_MOVES = frozenset(
    {"Cast", "Concat", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Expand"}
)
_ENOUGH = 3  # points; fewer values are on some line by chance
_ROUNDED = 4e-3  # of numbers up to 1, in half precision
_SPACING = 1e-4  # relative, of what float32 leaves of an even step


def is_table(array: npt.NDArray[np.float64]) -> bool:
    """Whether no training made these values: they are laid out evenly.

    1. Three different values or more, all of them multiples of one half (anchors, strides, the
       centres of cells), or
    2. along some axis the same step from each to the next (coordinates from 0 to 1).
    """
    if array.size < _ENOUGH or not np.isfinite(array).all():
        return False
    if (2 * array == np.round(2 * array)).all():
        return len(np.unique(array)) >= _ENOUGH
    return any(_is_even(array, axis) for axis in range(array.ndim))


def _is_even(array: npt.NDArray[np.float64], axis: int) -> bool:
    if array.shape[axis] < _ENOUGH:
        return False
    steps = np.diff(array, axis=axis)
    largest = np.abs(steps).max()
    return bool(largest > 0 and np.ptp(steps, axis=axis).max() <= _SPACING * largest)


def angles(nodes: Iterable[onnx.NodeProto]) -> frozenset[str]:
    """Names of values whose sine and cosine are both taken, and what they are moved from.

    What makes such a value multiplies positions with fixed frequencies. A sine alone may be an
    activation.
    """
    nodes = list(nodes)
    producers: Mapping[str, onnx.NodeProto] = {
        output: node for node in nodes for output in node.output
    }
    seen = {
        kind: {node.input[0] for node in nodes if node.op_type == kind} for kind in ("Sin", "Cos")
    }
    found = _moved_from(seen["Sin"], producers) & _moved_from(seen["Cos"], producers)
    return frozenset(found)


def _moved_from(names: Iterable[str], producers: Mapping[str, onnx.NodeProto]) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        node = producers.get(name)
        if node is not None and node.op_type in _MOVES:
            pending += node.input if node.op_type == "Concat" else node.input[:1]
    return found


def rotations(arrays: Mapping[str, npt.NDArray[np.float64]]) -> frozenset[str]:
    """Names of matrices that are cosine and sine of the same angles: squares add to 1."""
    found: set[str] = set()
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, array in arrays.items():
        wide = sum(length > 1 for length in array.shape)
        if not array.size or wide < 2:
            continue
        if np.abs(array).max() <= 1 + _ROUNDED and np.ptp(array) > _ROUNDED:
            by_shape.setdefault(array.shape, []).append(name)
    for names in by_shape.values():
        for position, left in enumerate(names):
            for right in names[position + 1 :]:
                squares = arrays[left] ** 2 + arrays[right] ** 2
                if np.abs(squares - 1).max() <= _ROUNDED:
                    found.update((left, right))
    return frozenset(found)
