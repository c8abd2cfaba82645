"""Operators that compute on stored integers: QLinearConv and its kin, ConvInteger, MatMulInteger.

Every operand stands for (stored - zero point) times scale. A weight's slice is silent at its zero
point: 0 can be written there if that is 0. Otherwise what meets the slice must be at its own zero
point, which is what ``zeroes`` calls being 0 for a stored tensor. Per-channel scales and zero
points are cut with their axis and never set to 0.
"""

from dataclasses import replace

import numpy as np

from graph_analysis.labels import Axes, Axis, Labelling
from graph_analysis.rules.contraction import conv, gemm, matmul
from graph_analysis.rules.elementwise import broadcast
from graph_analysis.rules.movement import concat
from graph_analysis.rules.quantised import dequantize, is_zero_point_zero, quantize
from graph_analysis.rules.spatial import pool
from graph_analysis.trace_graph import TraceGraph, Vertex

_PASSES = frozenset(
    {"Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
# operator -> input slot of the zero point of what it makes
_MADE_WITH = {
    "QGemm": 8,
    "QLinearAdd": 7,
    "QLinearConv": 7,
    "QLinearMatMul": 7,
    "QLinearMul": 7,
    "QuantizeLinear": 2,
}


def qlinear_conv(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QLinearConv: Conv of x [0] and w [3] with bias [8]; scales and zero points behind each."""
    return _convolved(labelling, vertex, (3, 5), scale=4, x_point=2, bias=8)


def conv_integer(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """ConvInteger: Conv of x [0] and w [1], zero points behind both."""
    return _convolved(labelling, vertex, (1, 3), scale=-1, x_point=2, bias=-1)


def _convolved(
    labelling: Labelling,
    vertex: Vertex,
    weight_and_point: tuple[int, int],
    *,
    scale: int,
    x_point: int,
    bias: int,
) -> list[Axes]:
    slot, point = weight_and_point
    names = [_input(vertex, n) for n in (0, slot, bias)]
    weight = labelling.of_integers(names[1])
    if names[2]:
        labelling.of_integers(names[2])
    _with_axis(labelling, vertex, weight[0], [_input(vertex, scale), _input(vertex, point)])
    _silenced(labelling, vertex, names[:2], weight[1], (_input(vertex, x_point), point))
    return conv(labelling, replace(vertex, inputs=tuple(name for name in names if name)))


def qlinear_matmul(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QLinearMatMul: MatMul of a [0] and b [3]."""
    return _multiplied(labelling, vertex, (0, 3), (2, 5), scales=(1, 4))


def matmul_integer(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """MatMulInteger: MatMul of a [0] and b [1]."""
    return _multiplied(labelling, vertex, (0, 1), (2, 3), scales=(-1, -1))


def qgemm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QGemm (com.microsoft): A [0] times B [3], which may be turned, plus C [6] of integers."""
    names = [_input(vertex, slot) for slot in (0, 3, 6)]
    weight = labelling.of_integers(names[1])
    if names[2]:
        labelling.of_integers(names[2])
    if vertex.attributes.get("transA") or names[1] not in labelling.graph.weights:
        for name in names[:2]:
            labelling.freeze_all(name, f"{vertex.name!r} multiplies in an unusual order")
        return [[None, None]]
    made, read = weight if vertex.attributes.get("transB") else weight[::-1]
    _with_axis(labelling, vertex, made, [_input(vertex, 4), _input(vertex, 5)])
    _silenced(labelling, vertex, names[:2], read, (_input(vertex, 2), 5))
    return gemm(labelling, replace(vertex, inputs=tuple(name for name in names if name)))


def _multiplied(
    labelling: Labelling,
    vertex: Vertex,
    slots: tuple[int, int],
    points: tuple[int, int],
    *,
    scales: tuple[int, int],
) -> list[Axes]:
    graph = labelling.graph
    names = [_input(vertex, slot) for slot in slots]
    a, b = (labelling.of_integers(name) for name in names)
    if min(len(a), len(b)) < 2 or names[0] in graph.weights:
        for name in names:
            labelling.freeze_all(name, f"{vertex.name!r} multiplies in an unusual order")
        return [[None] * len(graph.shape(vertex.outputs[0]) or ())]
    _with_axis(labelling, vertex, a[-2], [_input(vertex, scales[0]), _input(vertex, points[0])])
    _with_axis(labelling, vertex, b[-1], [_input(vertex, scales[1]), _input(vertex, points[1])])
    x_point = _input(vertex, points[0])
    if names[1] in graph.weights:
        _silenced(labelling, vertex, names, b[-2], (x_point, points[1]))
    elif not all(
        has_point(graph, name, _input(vertex, slot))
        for name, slot in zip(names, points, strict=True)
    ):
        _stays(labelling, vertex, b[-2])
        _stays(labelling, vertex, a[-1])
    return matmul(labelling, replace(vertex, inputs=tuple(names)))


def _silenced(
    labelling: Labelling, vertex: Vertex, names: list[str], axis: Axis, points: tuple[str, int]
) -> None:
    """See to it that what the weight ``names[1]`` reads along ``axis`` can be silenced.

    ``points`` are the zero point of ``names[0]``, and the slot of that of the weight.
    """
    if is_zero_point_zero(labelling.graph, _input(vertex, points[1])):
        return
    labelling.unzeroable.add(names[1])
    if has_point(labelling.graph, names[0], points[0]):
        reason = f"{vertex.name!r} has a zero point other than 0 and reads it"
        labelling.require_zero(axis, [names[0]], reason)
    else:
        _stays(labelling, vertex, axis)


def _stays(labelling: Labelling, vertex: Vertex, axis: Axis) -> None:
    reason = f"{vertex.name!r} has a zero point other than 0: no value of it means 0"
    labelling.freeze(axis, reason)


def has_point(graph: TraceGraph, name: str, point: str) -> bool:
    """Whether ``name`` was stored around the zero point that its reader takes it to have."""
    while name in graph.producer:
        maker = graph.vertices[graph.producer[name]]
        if maker.op_type in _PASSES:
            name = maker.inputs[0]
            continue
        if maker.op_type == "DynamicQuantizeLinear":
            return point == maker.outputs[2]
        if maker.op_type not in _MADE_WITH:
            return False
        made = _input(maker, _MADE_WITH[maker.op_type])
        if made == point:
            return True
        values = [graph.constant(n) if n else np.zeros(1) for n in (made, point)]
        known = [value.ravel() for value in values if value is not None]
        return len(known) == 2 and np.array_equal(known[0], known[1])
    return False


def dynamic_quantize(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """DynamicQuantizeLinear: its range always has 0 in it, so what is 0 does not change it."""
    name = vertex.inputs[0]
    x = labelling.of(name)
    for axis in x:
        labelling.require_zero(axis, [name], f"{vertex.name!r} takes the range of it")
    return [list(x), [], []]


def qlinear_binary(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QLinearAdd, QLinearMul (com.microsoft): A [0] and B [3], each with scale and zero point."""
    graph = labelling.graph
    operands = [
        (labelling.of_integers(vertex.inputs[slot]), graph.shape(vertex.inputs[slot]) or ())
        for slot in (0, 3)
    ]
    for slot in (0, 3):
        if vertex.inputs[slot] in graph.weights:  # it is cut, and nobody needs it to be 0
            labelling.unzeroable.add(vertex.inputs[slot])
    return [broadcast(labelling, operands, f"{vertex.name!r} combines it with a fixed tensor")]


def qlinear_unary(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QLinearLeakyRelu, QLinearSigmoid (com.microsoft): labels pass."""
    return [list(labelling.of(vertex.inputs[0]))]


def qlinear_pool(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QLinearAveragePool, QLinearGlobalAveragePool (com.microsoft): channels first only."""
    if vertex.attributes.get("channels_last"):
        labelling.freeze_all(vertex.inputs[0], f"{vertex.name!r} has its channels last")
        return [[None] * len(labelling.graph.shape(vertex.outputs[0]) or ())]
    return pool(labelling, vertex)


def qlinear_concat(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """QLinearConcat (com.microsoft): scale and zero point of the result, then three per part."""
    for name in vertex.inputs[2::3]:
        labelling.of_integers(name)
    return concat(labelling, replace(vertex, inputs=vertex.inputs[2::3]))


def _with_axis(labelling: Labelling, vertex: Vertex, axis: Axis, names: list[str]) -> None:
    """Tie what there is one of per position of ``axis`` to it."""
    graph = labelling.graph
    for name in names:
        shape = graph.shape(name) or () if name else ()
        if int(np.prod(shape)) <= 1:
            continue
        own = labelling.of_integers(name) if name in graph.initializers else labelling.of(name)
        labelling.integers.discard(name)
        labelling.unzeroable.add(name)
        for labels in own:
            if labels is not None:
                labelling.tie(labels, axis, f"{vertex.name!r}: its positions stay")


def _input(vertex: Vertex, slot: int) -> str:
    return vertex.inputs[slot] if 0 <= slot < len(vertex.inputs) else ""


RULES = {
    "ConvInteger": conv_integer,
    "DynamicQuantizeLinear": dynamic_quantize,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
MICROSOFT = {
    "DequantizeLinear": dequantize,
    "QGemm": qgemm,
    "QLinearAdd": qlinear_binary,
    "QLinearAveragePool": qlinear_pool,
    "QLinearConcat": qlinear_concat,
    "QLinearGlobalAveragePool": qlinear_pool,
    "QLinearLeakyRelu": qlinear_unary,
    "QLinearMul": qlinear_binary,
    "QLinearSigmoid": qlinear_unary,
    "QuantizeLinear": quantize,
}
