"""Operators that sum over an axis: Conv, ConvTranspose, Gemm, MatMul."""

from collections.abc import Sequence

import numpy as np

from graph_analysis.labels import Axes, Axis, Labelling
from graph_analysis.rules.elementwise import broadcast
from graph_analysis.trace_graph import Vertex

_INPUT_FIXED = "its input channels stay"


def conv(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Conv, weight [O, I/g, ...]. With groups, equal positions of all groups go together."""
    x, weight = labelling.of(vertex.inputs[0]), labelling.of(vertex.inputs[1])
    groups = vertex.attributes.get("group", 1)
    _freeze_kernel(labelling, vertex, weight)
    needs_silence(labelling, vertex, x[1])
    out = weight[0]
    if groups == 1:
        labelling.tie(x[1], weight[1], f"{vertex.name!r}: {_INPUT_FIXED}")
    else:
        shape = labelling.graph.shape(vertex.inputs[1]) or ()
        _tie_groups(labelling, x[1], weight[1], groups, shape[1], vertex)
        if out is not None and shape[1] == 1 and x[1] is not None:
            labelling.tie(np.repeat(x[1], shape[0] // groups), out, _INPUT_FIXED)
        elif out is not None and shape[1] == 1:
            labelling.freeze(out, f"{vertex.name!r}: {_INPUT_FIXED}")
        elif out is not None:
            labelling.tie_all(out.reshape(groups, -1).T)
    _bias(labelling, vertex, out)
    labelling.note_born(vertex.inputs[1], 0, vertex)
    return [[x[0], out, *[None] * (len(weight) - 2)]]


def conv_transpose(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """ConvTranspose, weight [I, O/g, ...]."""
    x, weight = labelling.of(vertex.inputs[0]), labelling.of(vertex.inputs[1])
    groups = vertex.attributes.get("group", 1)
    _freeze_kernel(labelling, vertex, weight)
    needs_silence(labelling, vertex, x[1])
    labelling.tie(x[1], weight[0], f"{vertex.name!r}: {_INPUT_FIXED}")
    out = weight[1]
    shape = labelling.graph.shape(vertex.inputs[1]) or ()
    if groups > 1 and weight[0] is not None:
        if shape[0] == groups:
            labelling.freeze(weight[1], f"{vertex.name!r} makes several channels of each input")
            out = np.repeat(weight[0], shape[1])
        else:
            labelling.tie_all(weight[0].reshape(groups, -1).T)
            out = None if weight[1] is None else np.tile(weight[1], groups)
    _bias(labelling, vertex, out)
    labelling.note_born(vertex.inputs[1], 1, vertex)
    return [[x[0], out, *[None] * (len(weight) - 2)]]


def gemm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Gemm: A' [M, K] times B' [K, N] plus C."""
    a, b = labelling.of(vertex.inputs[0]), labelling.of(vertex.inputs[1])
    a = a[::-1] if vertex.attributes.get("transA") else a
    flipped = bool(vertex.attributes.get("transB"))
    b = b[::-1] if flipped else b
    _contract(labelling, vertex, a[1], b[0])
    labelling.note_born(vertex.inputs[1], 0 if flipped else 1, vertex)
    out = [a[0], b[1]]
    if len(vertex.inputs) > 2 and vertex.inputs[2]:
        name = vertex.inputs[2]
        shape = labelling.graph.shape(vertex.outputs[0]) or ()
        out = broadcast(
            labelling,
            [(out, shape), (labelling.of(name), labelling.graph.shape(name) or ())],
            f"{vertex.name!r} adds a fixed tensor",
        )
    return [out]


def matmul(
    labelling: Labelling, vertex: Vertex, turned: Sequence[bool] = (False, False)
) -> list[Axes]:
    """MatMul: batch axes as elementwise, K contracted, [M, N] out; 1-D operands lose their axis.

    Of operands marked in ``turned`` (FusedMatMul) the last two axes are exchanged first.
    """
    names = vertex.inputs
    a, b = (
        [*axes[:-2], *axes[:-3:-1]] if turn else list(axes)
        for axes, turn in zip(map(labelling.of, names[:2]), turned, strict=True)
    )
    shapes = [labelling.graph.shape(name) or () for name in names]
    rows = [a[-2]] if len(a) > 1 else []
    columns = [b[-1]] if len(b) > 1 else []
    _contract(labelling, vertex, a[-1], b[-2] if len(b) > 1 else b[0])
    if len(b) > 1:
        labelling.note_born(names[1], len(b) - (2 if turned[1] else 1), vertex)
    batch = broadcast(
        labelling,
        [(a[:-2], shapes[0][:-2]), (b[:-2], shapes[1][:-2])],
        f"{vertex.name!r} meets a fixed batch axis",
    )
    return [[*batch, *rows, *columns]]


def _contract(labelling: Labelling, vertex: Vertex, left: Axis, right: Axis) -> None:
    if any(name in labelling.graph.weights for name in vertex.inputs[:2]):
        labelling.tie(left, right, f"{vertex.name!r}: {_INPUT_FIXED}")
        needs_silence(labelling, vertex, left)
        return
    labelling.tie(left, right, f"{vertex.name!r} sums over it together with a fixed axis")
    if left is not None and right is not None:
        reason = f"{vertex.name!r} sums over it between two activations"
        labelling.require_zero(left, vertex.inputs[:2], reason)


def needs_silence(labelling: Labelling, vertex: Vertex, axis: Axis) -> None:
    """A weight that is made and not stored cannot be set to 0 where it reads what is removed.

    So ``axis``, which ``vertex`` sums over, may go only where what it reads is 0 itself.
    """
    graph = labelling.graph
    made = [n for n in vertex.inputs[:2] if n in graph.weights and n not in graph.stored]
    if made:
        reason = f"{vertex.name!r} sums over it with a weight {made[0]!r} that is not stored"
        labelling.require_zero(axis, vertex.inputs[:2], reason)


def _tie_groups(
    labelling: Labelling, channels: Axis, inner: Axis, groups: int, width: int, vertex: Vertex
) -> None:
    if channels is None:
        labelling.freeze(inner, f"{vertex.name!r}: {_INPUT_FIXED}")
        return
    if width == 1:
        return
    labelling.tie(channels, None if inner is None else np.tile(inner, groups), _INPUT_FIXED)


def _freeze_kernel(labelling: Labelling, vertex: Vertex, weight: Axes) -> None:
    x = labelling.of(vertex.inputs[0])
    for axis in (*weight[2:], *x[2:]):
        labelling.freeze(axis, f"spatial axis of {vertex.name!r}")


def _bias(labelling: Labelling, vertex: Vertex, out: Axis) -> None:
    if len(vertex.inputs) > 2 and vertex.inputs[2]:
        labelling.tie(labelling.of(vertex.inputs[2])[0], out, "its output channels stay")


RULES = {"Conv": conv, "ConvTranspose": conv_transpose, "Gemm": gemm, "MatMul": matmul}
