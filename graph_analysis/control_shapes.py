"""Shapes around If, Loop and Scan in the flat view (``bodies``), under one binding.

A state of a Loop or Scan is taken to keep its shape from one iteration to the next; at the end of
the body it is checked, and a node where that does not hold is *unstable*: nothing that was inferred
inside its body means anything. How often a body runs is known of a Scan, and of a Loop with a
constant count and no condition of its own; else a number stands for it that differs between the two
bindings, so that what it makes has a free length.
"""

from typing import Any

import numpy as np
import onnx

from graph_analysis.known_shapes import Shapes

_UNKNOWN_TRIPS = 5  # times the scale of the binding


def infer_control(node: onnx.NodeProto, shapes: Shapes, scale: int) -> None:
    """Add what is known of the outputs of a node of the domain ``CONTROL``."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "If":
        _infer_if(node, shapes)
    elif node.op_type == "LoopBody":
        _enter_loop(node, shapes, attributes)
    elif node.op_type == "ScanBody":
        _enter_scan(node, shapes, attributes)
    else:
        _leave(node, shapes, attributes, scale)


def _copy(shapes: Shapes, source: str, target: str) -> None:
    """The shape and type of ``source``, not its value: that changes with every iteration."""
    if source in shapes.dtype:
        shapes.dtype[target] = shapes.dtype[source]
    if source in shapes.shape:
        shapes.shape[target] = shapes.shape[source]


def _infer_if(node: onnx.NodeProto, shapes: Shapes) -> None:
    count = (len(node.input) - 1) // 2
    for place, name in enumerate(node.output):
        one, other = node.input[1 + place], node.input[1 + count + place]
        if name and one in shapes.shape and shapes.shape[one] == shapes.shape.get(other):
            _copy(shapes, one, name)


def _enter_loop(node: onnx.NodeProto, shapes: Shapes, attributes: dict[str, Any]) -> None:
    count, condition, *states = node.input
    for name, dtype in zip(
        node.output, (onnx.TensorProto.INT64, onnx.TensorProto.BOOL), strict=False
    ):
        shapes.shape[name], shapes.dtype[name] = (), dtype
    if condition in shapes.shape:
        shapes.shape[node.output[1]] = shapes.shape[condition]
    for source, target in zip(states, node.output[2:], strict=True):
        _copy(shapes, source, target)
    known, goes_on = shapes.constant.get(count), shapes.constant.get(condition)
    if known is not None and known.size == 1 and (goes_on is None or bool(np.all(goes_on))):
        sure = not condition or goes_on is not None
        shapes.trips[attributes["control"].decode()] = int(known.item()) if sure else -1


def _scan_axes(attributes: dict[str, Any], key: str, count: int) -> list[int]:
    return list(attributes.get(key) or [0] * count)


def _enter_scan(node: onnx.NodeProto, shapes: Shapes, attributes: dict[str, Any]) -> None:
    carried, control = attributes["carried"], attributes["control"].decode()
    for source, target in zip(node.input[:carried], node.output, strict=False):
        _copy(shapes, source, target)
    scanned = node.input[carried:]
    axes = _scan_axes(attributes, "scan_input_axes", len(scanned))
    for source, target, axis in zip(scanned, node.output[carried:], axes, strict=True):
        shape = list(shapes.shape.get(source, ()))
        if not -len(shape) <= axis < len(shape):
            continue
        shapes.trips[control] = shape.pop(axis)
        shapes.shape[target], shapes.dtype[target] = tuple(shape), shapes.dtype[source]


def _leave(node: onnx.NodeProto, shapes: Shapes, attributes: dict[str, Any], scale: int) -> None:
    """The final states, and what the iterations made stacked."""
    carried, control = attributes["carried"], attributes["control"].decode()
    first, after, made = body_tensors(node, carried)
    for place, (before, later) in enumerate(zip(first, after, strict=True)):
        if shapes.shape.get(before) != shapes.shape.get(later):
            shapes.unstable.setdefault(control, before)
        elif node.output[place]:
            _copy(shapes, before, node.output[place])
    trips = shapes.trips.get(control, -1)
    if node.op_type == "Loop" and not attributes["is_counted"]:
        trips = -1
    if trips < 0:
        shapes.trips.pop(control, None)
        trips = _UNKNOWN_TRIPS * scale
    axes = _scan_axes(attributes, "scan_output_axes", len(made))
    for source, target, axis in zip(made, node.output[carried:], axes, strict=True):
        if target and source in shapes.shape and control not in shapes.unstable:
            shape = list(shapes.shape[source])
            shape.insert(axis % (len(shape) + 1), trips)
            shapes.shape[target] = tuple(shape)
            shapes.dtype[target] = shapes.dtype[source]


def body_tensors(node: onnx.NodeProto, carried: int) -> tuple[list[str], list[str], list[str]]:
    """States as they enter the body, as they leave it, and what each iteration makes."""
    return parts(node.op_type, list(node.input), list(node.output), carried)


def parts(
    op_type: str, inputs: list[str], outputs: list[str], carried: int
) -> tuple[list[str], list[str], list[str]]:
    """The same from the inputs and outputs of a flat ``Loop`` or ``Scan``."""
    made = len(outputs) - carried
    own = 1 if op_type == "Loop" else 0  # a Loop's condition
    start = 2 if op_type == "Loop" else 0  # a Loop's count and condition
    begin = len(inputs) - made - carried
    assert begin - own >= start + carried
    return (
        inputs[start : start + carried],
        inputs[begin : begin + carried],
        inputs[begin + carried :],
    )
