"""Multiply-accumulates of one operator, as products of numbers of kept positions.

Conv: output positions x kernel x W.shape[0] x W.shape[1]. ConvTranspose: input positions the same
way. Gemm, MatMul: output elements x contracted length. Einsum: product of all index lengths, once
for every operand after the first. LSTM, GRU, RNN: steps x elements of W and of R. Attention: scores
and weighted sum, as the MatMuls they are.
Everything else counts 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from graph_analysis.labels import Axis, Classes, Labelling
from graph_analysis.rules.einsum import equation_of
from graph_analysis.rules.fitting import misfit
from graph_analysis.rules.recurrent import GATES
from graph_analysis.trace_graph import TraceGraph, Vertex

ClassAxis = npt.NDArray[np.int64]
Factors = list[tuple[int, Axis]]  # length and labels of an axis


@dataclass(frozen=True, kw_only=True)
class Product:
    """``factor`` times the number of kept positions along each of ``axes``."""

    factor: int
    axes: tuple[ClassAxis, ...]

    def count(self, gone: npt.NDArray[np.bool_]) -> int:
        """The product when classes marked in ``gone`` (by class label) are removed."""
        total = self.factor
        for axis in self.axes:
            total *= int(axis.size - gone[axis[axis >= 0]].sum())
        return total

    def is_touched(self, gone: npt.NDArray[np.bool_]) -> bool:
        """Whether any position that counts is removed."""
        return any(gone[axis[axis >= 0]].any() for axis in self.axes)


@dataclass(frozen=True, kw_only=True)
class _Operands:
    """A vertex with what is known of the tensors around it."""

    graph: TraceGraph
    labelling: Labelling
    vertex: Vertex

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.shape(name) or ()

    def factors(self, name: str) -> Factors:
        return list(zip(self.shape(name), self.labelling.of(name), strict=True))

    def optional(self, slot: int) -> str:
        return self.vertex.inputs[slot] if slot < len(self.vertex.inputs) else ""


def product_of(
    factor: int, shape: Sequence[int], axes: Sequence[Axis], classes: Classes
) -> Product:
    """``factor`` times the lengths in ``shape``, those of labelled ``axes`` counted by label."""
    kept = []
    for length, axis in zip(shape, axes, strict=False):
        found = classes.of(axis)
        if found is None:
            factor *= int(length)
        else:
            kept.append(found)
    return Product(factor=factor, axes=tuple(kept))


def vertex_macs(
    graph: TraceGraph, labelling: Labelling, classes: Classes, vertex: Vertex
) -> tuple[Product, ...]:
    """What a vertex multiplies, per sample; empty if that is nothing or not known."""
    rule = RULES.get(vertex.op_type)
    if not vertex.is_standard:
        rule = _MICROSOFT.get(vertex.op_type, rule) if vertex.domain == "com.microsoft" else None
    names = [name for name in (*vertex.inputs, vertex.outputs[0]) if name]
    if rule is None or any(graph.shape(name) is None for name in names) or misfit(graph, vertex):
        return ()
    found = rule(_Operands(graph=graph, labelling=labelling, vertex=vertex))
    return tuple(
        product_of(factor, [n for n, _ in factors], [a for _, a in factors], classes)
        for factor, factors in found
    )


def _conv(operands: _Operands) -> list[tuple[int, Factors]]:
    vertex = operands.vertex
    weight = operands.factors(vertex.inputs[1])
    made = vertex.inputs[0] if vertex.op_type == "ConvTranspose" else vertex.outputs[0]
    positions = operands.shape(made)
    kernel = int(np.prod([length for length, _ in weight[2:]]))
    return [(kernel * int(np.prod(positions[2:])) * positions[0], weight[:2])]


def _qlinear_conv(operands: _Operands) -> list[tuple[int, Factors]]:
    inputs = operands.vertex.inputs
    return _conv(replace(operands, vertex=replace(operands.vertex, inputs=(inputs[0], inputs[3]))))


def _gemm(operands: _Operands) -> list[tuple[int, Factors]]:
    vertex = operands.vertex
    inner = operands.factors(vertex.inputs[0])[0 if vertex.attributes.get("transA") else 1]
    return [(1, [inner, *operands.factors(vertex.outputs[0])])]


def _matmul(operands: _Operands) -> list[tuple[int, Factors]]:
    vertex = operands.vertex
    inner = operands.factors(vertex.inputs[0])[-2 if vertex.attributes.get("transA") else -1]
    return [(1, [inner, *operands.factors(vertex.outputs[0])])]


def _einsum(operands: _Operands) -> list[tuple[int, Factors]]:
    names = operands.vertex.inputs
    equation = equation_of(operands.vertex, [len(operands.shape(name)) for name in names])
    if equation is None or len(names) < 2:
        return []
    longest: dict[str, tuple[int, Axis]] = {}
    for name, indices in zip(names, equation.operands, strict=True):
        for index, factor in zip(indices, operands.factors(name), strict=True):
            if index not in longest or factor[0] > longest[index][0]:
                longest[index] = factor
    return [(len(names) - 1, list(longest.values()))]


def _attention(operands: _Operands) -> list[tuple[int, Factors]]:
    """com.microsoft Attention: the projection to query, key and value, scores, weighted sum."""
    vertex = operands.vertex
    x, weight = operands.shape(vertex.inputs[0]), operands.factors(vertex.inputs[1])
    width, labels = weight[1]
    size = (vertex.attributes.get("qkv_hidden_sizes") or [width // 3])[0]
    query = (size, None if labels is None else labels[:size])
    past = operands.shape(operands.optional(4))
    tokens = x[0] * x[1]
    pairs = tokens * (x[1] + (past[3] if past else 0))
    return [(tokens, weight), (pairs, [query]), (pairs, [operands.factors(vertex.outputs[0])[2]])]


def _attention_apart(operands: _Operands) -> list[tuple[int, Factors]]:
    """Attention of projections made outside: scores and weighted sum, a head at a time."""
    vertex = operands.vertex
    out, query = operands.factors(vertex.outputs[0]), operands.factors(vertex.inputs[0])
    value = [out[1], out[3]] if len(out) == 4 else [out[2]]
    key = operands.shape(operands.optional(1))
    if len(query) == 4:  # (N, heads, tokens, size)
        tokens, scored = query[2][0], [query[1], query[3]]
    else:  # packed with key and value, the query has no width of its own
        tokens, scored = query[1][0], [query[2]] if len(query) == 3 and key else value
    slot = {"GroupQueryAttention": 3, "MultiHeadAttention": 6}.get(vertex.op_type, 4)
    past = operands.shape(operands.optional(slot))
    length = key[2] if len(key) == 4 else key[1] if key else tokens
    pairs = query[0][0] * tokens * (length + (past[2] if past else 0))
    return [(pairs, scored), (pairs, value)]


def _recurrent(operands: _Operands) -> list[tuple[int, Factors]]:
    x = operands.shape(operands.vertex.inputs[0])
    return [(x[0] * x[1], operands.factors(name)) for name in operands.vertex.inputs[1:3]]


Rule = Callable[[_Operands], list[tuple[int, Factors]]]
_MICROSOFT: dict[str, Rule] = {"Attention": _attention}
RULES: dict[str, Rule] = {
    "Attention": _attention_apart,
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv,
    "Einsum": _einsum,
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "Gemm": _gemm,
    "GroupQueryAttention": _attention_apart,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "MultiHeadAttention": _attention_apart,
    "QGemm": _gemm,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _matmul,
    **dict.fromkeys(GATES, _recurrent),
}
