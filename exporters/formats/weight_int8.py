"""INT8 weights, float arithmetic: a file of about a quarter of the size.

Each weight ``W`` is stored as integers with one scale per output channel, and a DequantizeLinear
in front of the operator that makes ``W`` again, under its old name: whatever reads it, bodies
included, stays as it is. ``W ~ scale * round(W / scale)``, ``scale = max|W| / 127`` per channel.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from exporters.formats.converting import converted
from exporters.formats.refusing import (
    check_is_float32,
    check_opset,
    check_size,
    nodes_of,
    unsupported,
)
from exporters.weights import copy_without, to_array

_FORM = "file with INT8 weights"
_LEAST_OPSET = 13  # scales per channel
_LEAST_ELEMENTS = 1024  # below that scales and names eat what is saved
_MOST = 127
_MOVES = frozenset({"Identity", "Transpose"})


def to_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with the weights of convolutions, products, recurrences and tables in INT8.

    Raises:
        InputError: ``export-unsupported``: it is no float32 model, its opset is below 13, or it has
            no such weights.
    """
    check_size(model, _FORM)
    check_is_float32(model, _FORM)
    check_opset(model, _LEAST_OPSET, _FORM, "a scale per channel")
    axes = channel_axes(model)
    if not axes:
        reason = "it has no float32 weights of a thousand values or more in front of an operator"
        raise unsupported(_FORM, reason)
    return converted(model, _FORM, lambda: _with_integers(model, axes))


def channel_axes(model: onnx.ModelProto) -> dict[str, int]:
    """Weight -> the axis of it that gets a scale per position: that of the output channels."""
    declared = {value.name for value in model.graph.input}
    weights = {
        tensor.name: len(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and len(tensor.dims) >= 2
        and np.prod(tensor.dims, dtype=np.int64) >= _LEAST_ELEMENTS
        and tensor.name not in declared  # a default that a caller may replace
    }
    moved: dict[str, tuple[str, tuple[int, ...]]] = {
        name: (name, tuple(range(rank))) for name, rank in weights.items()
    }
    axes: dict[str, int] = {}
    for node in nodes_of(model.graph):
        if node.op_type in _MOVES and node.input[0] in moved:
            name, order = moved[node.input[0]]
            moved[node.output[0]] = name, _moved(node, order)
        for source, axis in _roles(node, {n: len(order) for n, (_, order) in moved.items()}):
            name, order = moved[source]
            axes.setdefault(name, order[axis])
    return axes


def _moved(node: onnx.NodeProto, order: tuple[int, ...]) -> tuple[int, ...]:
    if node.op_type == "Identity":
        return order
    given = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
    return tuple(order[axis] for axis in (given or range(len(order))[::-1]))


def _roles(node: onnx.NodeProto, ranks: dict[str, int]) -> Iterator[tuple[str, int]]:
    """The weights that a node multiplies by or looks up in, each with its axis of channels."""

    def given(place: int) -> str:
        name = node.input[place] if place < len(node.input) else ""
        return name if name in ranks else ""

    flags = {a.name: a.i for a in node.attribute if a.type == onnx.AttributeProto.INT}
    if node.domain not in ("", "ai.onnx"):
        return
    if node.op_type in ("Conv", "ConvTranspose") and given(1):
        yield given(1), 0 if node.op_type == "Conv" else 1
    elif node.op_type == "Gemm" and given(1):
        yield given(1), 0 if flags.get("transB") else 1
    elif node.op_type == "MatMul":
        if given(1):
            yield given(1), ranks[given(1)] - 1
        if given(0):
            yield given(0), ranks[given(0)] - 2
    elif node.op_type in ("LSTM", "GRU", "RNN"):
        yield from ((given(place), 1) for place in (1, 2) if given(place))
    elif node.op_type == "Gather" and given(0) and not flags.get("axis"):
        yield given(0), 0


def _with_integers(model: onnx.ModelProto, axes: dict[str, int]) -> onnx.ModelProto:
    result = copy_without(model, "initializer")
    taken = {name for node in nodes_of(model.graph) for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in model.graph.initializer}
    front = []
    for tensor in model.graph.initializer:
        axis = axes.get(tensor.name)
        if axis is None:
            result.graph.initializer.append(tensor)
            continue
        whole, scale = quantised(to_array(tensor).astype(np.float32), axis)
        names = [_free(f"{tensor.name}_{part}", taken) for part in ("int8", "scale", "zero")]
        arrays: list[npt.NDArray[Any]] = [whole, scale, np.zeros(len(scale), np.int8)]
        for name, array in zip(names, arrays, strict=True):
            result.graph.initializer.append(numpy_helper.from_array(array, name))
        front.append(
            onnx.helper.make_node(
                "DequantizeLinear",
                names,
                [tensor.name],
                name=_free(f"{tensor.name}_dequantize", taken),
                axis=axis,
            )
        )
    nodes = [*front, *model.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def quantised(
    values: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Integers in the shape of ``values``, and one scale per position along ``axis``.

    The error of a value is at most half of its channel's scale. A channel of zeros has scale 1.

    Example:
        >>> quantised(np.array([[1.0, -2.54], [0.0, 0.0]], np.float32), 0)[0].tolist()
        [[50, -127], [0, 0]]
    """
    others = tuple(place for place in range(values.ndim) if place != axis)
    largest = np.max(np.abs(values), axis=others)
    scale = np.where(largest > 0, largest / _MOST, 1.0).astype(np.float32)
    # A channel of subnormal numbers can have a scale that is 0 in float32.
    scale = np.where(scale > 0, scale, np.float32(1.0)).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    whole = np.clip(np.rint(values / scale.reshape(shape)), -_MOST, _MOST)
    return whole.astype(np.int8), scale


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name
