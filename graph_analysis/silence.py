"""Whether what a branch ends with is exactly 0 once its own weights are.

Where it is, removing the branch is what driving its weights to 0 leads to. Where it is not, the
masked model needs a gate at the joint.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graph_analysis.rules.quantised import is_round_trip
from graph_analysis.rules.recurrent import is_silent_without_weights
from graph_analysis.segments import Piece
from graph_analysis.trace_graph import TraceGraph, Vertex
from graph_analysis.zeroes import KEEPS_ZERO, activation_keeps_zero, clip_keeps_zero, pads_with_zero

_FUSED = frozenset({"FusedConv", "FusedGemm"})
STEMS = _FUSED | {"Conv", "ConvTranspose", "Einsum", "FusedMatMul", "Gemm", "MatMul"}
_PRODUCTS = frozenset({"Einsum", "FusedMatMul", "MatMul"})
AFFINE = frozenset(
    {
        "BatchNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "RMSNormalization",
    }
)
_KEEPS_ZERO = (KEEPS_ZERO | {"Div", "Mul", "Resize", "Upsample"}) - {"Gather"}
_ADDING = frozenset({"Add", "BiasGelu", "FastGelu", "Sub"})
_ALL_ZERO = frozenset({"Add", "Concat", "Max", "Mean", "Min", "Sub", "Sum"})
_ANY_ZERO = frozenset({"Einsum", "FusedMatMul", "MatMul", "Mul"})


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Looks for what is 0 in the pieces of a branch when ``zeroed`` initializers are."""

    graph: TraceGraph
    zeroed: Collection[str]

    def is_zero(self, pieces: Iterable[Piece], tensors: Sequence[str]) -> bool:
        """Whether all of ``tensors`` are 0; ``pieces`` in order of execution make them."""
        zero: set[str] = set()
        for piece in pieces:
            if self._silences(piece) or self._keeps_zero(piece, zero):
                zero.update(name for name in piece.members[-1].outputs if name)
        return all(name in zero for name in tensors)

    def _is_zeroed(self, name: str) -> bool:
        """Whether all weights behind a tensor that is made of weights alone are 0."""
        stack, found = [name], False
        while stack:
            one = stack.pop()
            if one in self.zeroed:
                found = True
            elif one in self.graph.producer and one in self.graph.weights:
                stack.append(self.graph.vertices[self.graph.producer[one]].inputs[0])
            else:
                return False
        return found

    def _silences(self, piece: Piece) -> bool:
        vertex = piece.members[-1]
        if len(piece.members) > 1:
            return False
        given = [name for name in vertex.inputs[1:3] if name]
        if vertex.op_type in _PRODUCTS:
            return any(self._is_zeroed(name) for name in vertex.inputs)
        if vertex.op_type in _FUSED and not activation_keeps_zero(vertex):
            return False
        if vertex.op_type in STEMS:
            return bool(given) and all(self._is_zeroed(name) for name in vertex.inputs[1:] if name)
        if vertex.op_type in AFFINE:
            return bool(given) and all(self._is_zeroed(name) for name in given)
        weights = [n for n in vertex.inputs if n in self.graph.initializers]
        own = all(n in self.zeroed for n in weights if self.graph.is_float(n))
        return own and is_silent_without_weights(self.graph, vertex)

    def _keeps_zero(self, piece: Piece, zero: Collection[str]) -> bool:
        vertex, data = piece.members[0], piece.inputs
        if len(piece.members) > 1:
            return data[0] in zero and _region_keeps_zero(piece)
        if len(set(data)) > 1:
            if vertex.op_type in _ANY_ZERO:
                return any(name in zero for name in data)
            return vertex.op_type in _ALL_ZERO and self._all_zero(vertex, zero)
        if data[0] not in zero:
            return False
        if vertex.op_type == "Clip":
            return clip_keeps_zero(self.graph, vertex)
        if vertex.op_type in ("DequantizeLinear", "QuantizeLinear"):
            return vertex.op_type == "QuantizeLinear" or is_round_trip(self.graph, vertex)
        if vertex.op_type == "Pad":
            return pads_with_zero(self.graph, vertex)
        if vertex.op_type in _ADDING:
            return self._all_zero(vertex, zero)
        if vertex.op_type == "Div" and vertex.inputs[0] not in data:
            return False
        return vertex.op_type in _KEEPS_ZERO

    def _all_zero(self, vertex: Vertex, zero: Collection[str]) -> bool:
        return all(name in zero or self._is_zeroed(name) for name in vertex.inputs if name)


def _region_keeps_zero(piece: Piece) -> bool:
    """Known products of an activation with its own gate, like SiLU, map 0 to 0."""
    last = piece.members[-1]
    if last.op_type == "Mul":
        if piece.inputs[0] in last.inputs:
            return True
        # scaled forms: GELU is 0.5 * (x * (1 + erf)), its product lies one step earlier
        return any(
            m.op_type == "Mul" and piece.inputs[0] in m.inputs and m.outputs[0] in last.inputs
            for m in piece.members
        )
    if last.op_type == "Div":
        return any(
            m.op_type == "Mul" and piece.inputs[0] in m.inputs and m.outputs[0] == last.inputs[0]
            for m in piece.members
        )
    return False


def is_finite_at_zero(graph: TraceGraph, vertices: Iterable[int]) -> bool:
    """Whether no operator among ``vertices`` can divide by what its zeroed weights make 0."""
    return all(_is_finite_at_zero(graph, graph.vertices[index]) for index in vertices)


def _is_finite_at_zero(graph: TraceGraph, vertex: Vertex) -> bool:
    if vertex.op_type in ("Div", "Mod"):
        return vertex.inputs[1] in graph.weights or _is_positive(graph, vertex.inputs[1])
    if vertex.op_type in ("Log", "Reciprocal"):
        return _is_positive(graph, vertex.inputs[0])
    if vertex.op_type == "Pow":
        exponent = graph.constant(vertex.inputs[1])
        if exponent is None or not exponent.size:
            return False
        return bool((exponent > 0).all()) or _is_positive(graph, vertex.inputs[0])
    return vertex.op_type not in ("LpNormalization", "ReduceLogSum")


def _is_positive(graph: TraceGraph, name: str) -> bool:
    """Whether something positive was added to a denominator, or it was clipped above 0."""
    for _ in range(4):
        value = graph.constant(name)
        if value is not None:
            return value.size > 0 and bool(np.all(value > 0))
        if name not in graph.producer:
            return False
        vertex = graph.vertices[graph.producer[name]]
        known = [graph.constant(one) for one in vertex.inputs if one]
        if vertex.op_type in ("Add", "Max", "Clip"):
            return any(v is not None and v.size > 0 and bool(np.all(v > 0)) for v in known)
        if vertex.op_type in ("Exp", "Softplus", "Softmax", "Sigmoid"):
            return True
        if vertex.op_type not in ("Sqrt", "Expand", "Identity", "Cast"):
            return False
        name = vertex.inputs[0]
    return False
