"""Where a tensor is exactly 0 once the weights of a removed unit are.

Removing equals zeroing wherever the next weights ignore the unit. A norm, a sum, or a product of
two activations has no weights that could: there the position itself must be 0. Rules say so by
``Labelling.require_zero``; here it is looked up, and what is not 0 stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from graph_analysis.coupling import Labels
from graph_analysis.labels import Axes, Classes, Demand, Labelling
from graph_analysis.rules.einsum import equation_of
from graph_analysis.rules.integer import has_point
from graph_analysis.rules.quantised import is_round_trip
from graph_analysis.trace_graph import TraceGraph, Vertex

Zeroes = frozenset[int]  # classes
_NONE: Zeroes = frozenset()

# fmt: off
KEEPS_ZERO = frozenset(
    {
        "Abs", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "Cast", "CastLike", "Ceil",
        "Celu", "DepthToSpace", "Dropout", "Elu", "Erf", "Expand", "Flatten", "Floor", "Gelu",
        "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "HardSwish", "Identity", "LeakyRelu",
        "LpNormalization",
        "LpPool", "MaxPool", "Mish", "Neg", "PRelu", "QuickGelu", "Relu", "Reshape", "Round",
        "Selu", "Sign", "Sin", "Sinh", "Slice", "Softsign", "SpaceToDepth", "Split", "Sqrt",
        "Squeeze", "Swish", "Tan", "Tanh", "Tile", "Transpose", "Unsqueeze", "Gather",
        "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
        "ReduceSumSquare",
    }
)
# fmt: on
_ALL_OPERANDS = frozenset({"Add", "BiasGelu", "FastGelu", "Max", "Mean", "Min", "Sub", "Sum"})


def settled(labelling: Labelling) -> Classes:
    """The classes of a labelled graph, without those that some demand does not allow to go."""
    classes = labelling.settle()
    unmet = [demand for demand in labelling.demands if classes.of(demand.labels) is not None]
    if not unmet:
        return classes
    wanted = {unit for demand in unmet for unit in _units(classes, demand.labels)}
    parts = classes.crossings
    wanted |= set(parts.rows[np.isin(parts.crossing, list(wanted))].tolist()) - {-1}
    known = Lookup(labelling=labelling, classes=classes, wanted=frozenset(wanted)).run()
    frozen = False
    for demand in unmet:
        found = classes.class_of[demand.labels]
        bad = [unit for unit in _units(classes, demand.labels) if not _is_met(demand, unit, known)]
        stuck = np.isin(found, bad)
        if stuck.any():
            if demand.otherwise is None:
                labelling.freeze(demand.labels[stuck], _explained(demand))
            else:
                demand.otherwise()
            frozen = True
    return labelling.settle() if frozen else classes


def _units(classes: Classes, labels: Labels) -> set[int]:
    found = np.unique(classes.class_of[labels])
    return set(found[found >= 0].tolist())


def _is_met(demand: Demand, unit: int, known: dict[str, Zeroes]) -> bool:
    is_zero = any(unit in known.get(name, _NONE) for name in demand.tensors)
    return is_zero is demand.zero


def _explained(demand: Demand) -> str:
    what = "is not 0" if demand.zero else "is 0"
    return f"{demand.reason}, where it {what} after its weights are zeroed"


@dataclass(kw_only=True)
class Lookup:
    """Finds, tensor by tensor in execution order, which of the ``wanted`` classes are 0 in it.

    A class is 0 in a tensor if every position that carries it, along any axis, is exactly 0. What
    is not known to be 0 is taken not to be.
    """

    labelling: Labelling
    classes: Classes
    wanted: Zeroes
    known: dict[str, Zeroes] = field(default_factory=dict)

    @property
    def graph(self) -> TraceGraph:
        """The graph that is looked at."""
        return self.labelling.graph

    def run(self) -> dict[str, Zeroes]:
        """Tensor -> wanted classes that are 0 in it."""
        for name in self.graph.initializers:
            if name not in self.labelling.unzeroable and name in self.labelling.axes:
                self.known[name] = self._carried(name)
        for vertex in self.graph.vertices:
            if vertex.outputs[0] not in self.labelling.axes:
                continue
            found = self._of(vertex)
            for name in vertex.outputs:
                if name and name in self.labelling.axes:
                    self.known[name] = found & self._carried(name)
        return self.known

    def _of(self, vertex: Vertex) -> Zeroes:
        rule = _RULES.get(vertex.op_type)
        if rule is not None:
            return rule(self, vertex)
        if vertex.op_type in KEEPS_ZERO:
            return self.known.get(vertex.inputs[0], _NONE)
        if vertex.op_type in _ALL_OPERANDS:
            return self.all_operands(vertex)
        return _NONE

    def zero(self, name: str) -> Zeroes:
        """The wanted classes that are 0 in a tensor."""
        return self.known.get(name, _NONE)

    def _carried(self, name: str) -> Zeroes:
        axes = self.labelling.axes.get(name, [])
        return frozenset(unit for axis in axes for unit in self.on(axis) if unit in self.wanted)

    def on(self, axis: Labels | None) -> set[int]:
        """The classes along an axis."""
        return set() if axis is None else _units(self.classes, axis)

    def all_operands(self, vertex: Vertex, slots: Sequence[int] | None = None) -> Zeroes:
        """Classes that are 0 in every operand (a sum): one that lacks the class is not 0 there."""
        names = [vertex.inputs[slot] for slot in slots] if slots else vertex.inputs
        found = [self.zero(name) for name in names if name and not self._is_all_zero(name)]
        return frozenset.intersection(*found) if found else _NONE

    def _is_all_zero(self, name: str) -> bool:
        value = self.graph.constant(name)
        return value is not None and value.ndim == 0 and not value  # a vector may be trained

    def carriers(self, vertex: Vertex) -> Zeroes:
        """Classes that are 0 in every operand that carries them (Concat)."""
        bad = {
            unit
            for name in vertex.inputs
            for axis in self.labelling.axes.get(name, [])
            for unit in self.on(axis) - self.zero(name)
        }
        return self.wanted - bad

    def without_batch(self, vertex: Vertex, found: Zeroes) -> Zeroes:
        """Weights silence channels; a class along the first axis is another matter."""
        return found - self.on(self.labelling.axes[vertex.outputs[0]][0])

    def product(
        self, vertex: Vertex, names: Sequence[str], places: Sequence[Sequence[int]]
    ) -> Zeroes:
        """Classes that are 0 in a product: on each output axis some factor must be 0 there.

        Args:
            vertex: Its first output is the product.
            names: The factors.
            places: For each factor, the output axis that each of its axes becomes; -1 for none.
        """
        out: Axes = self.labelling.axes.get(vertex.outputs[0], [])
        broken: set[int] = set()
        for place, labels in enumerate(out):
            silent: set[int] = set()
            for name, axes_to in zip(names, places, strict=True):
                own = self.labelling.axes.get(name, [])
                for axis, target in enumerate(axes_to):
                    if target == place and axis < len(own):
                        silent |= self.on(own[axis]) & self.zero(name)
            broken |= self.on(labels) - silent
        return self._carried(vertex.outputs[0]) - broken


Rule = Callable[[Lookup, Vertex], Zeroes]


def _with_bias(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """Conv, ConvTranspose, Gemm: output channels are 0 where weight and bias are."""
    found = lookup.zero(vertex.inputs[1])
    if len(vertex.inputs) > 2 and vertex.inputs[2]:
        found &= lookup.zero(vertex.inputs[2])
    return lookup.without_batch(vertex, found)


def _quantize(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """Where it holds its zero point, which only a DequantizeLinear with the same one reads as 0."""
    return lookup.zero(vertex.inputs[0])


def _dequantize(lookup: Lookup, vertex: Vertex) -> Zeroes:
    name = vertex.inputs[0]
    if name in lookup.graph.initializers:
        return lookup.zero(name) | lookup.zero(vertex.inputs[1])
    point = vertex.inputs[2] if len(vertex.inputs) > 2 else ""
    if is_round_trip(lookup.graph, vertex) or has_point(lookup.graph, name, point):
        return lookup.zero(name)
    return _NONE


def _qlinear_conv(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """QLinearConv, ConvInteger, QGemm: at the zero point where weight and bias are 0."""
    weight, bias = {"QLinearConv": (3, 8), "QGemm": (3, 6)}.get(vertex.op_type, (1, 99))
    names = [vertex.inputs[0], vertex.inputs[weight], *vertex.inputs[bias : bias + 1]]
    return _with_bias(lookup, replace(vertex, inputs=tuple(names)))


def _stored_product(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """MatMul and Mul of stored numbers: 0 where a factor is at its zero point."""
    names, rule = _stored(lookup, vertex), _mul if vertex.op_type == "QLinearMul" else _matmul
    plain = replace(vertex, inputs=tuple(names))
    return rule(lookup, plain) if all(names) else _NONE


def _stored_sum(lookup: Lookup, vertex: Vertex) -> Zeroes:
    names = _stored(lookup, vertex)
    return lookup.all_operands(replace(vertex, inputs=tuple(names))) if all(names) else _NONE


def _stored(lookup: Lookup, vertex: Vertex) -> list[str]:
    """The two operands; empty for an activation of which it is not known when it is 0."""
    slots, points = ((0, 1), (2, 3)) if vertex.op_type == "MatMulInteger" else ((0, 3), (2, 5))
    pairs = [
        (vertex.inputs[slot], vertex.inputs[point] if point < len(vertex.inputs) else "")
        for slot, point in zip(slots, points, strict=True)
    ]
    graph = lookup.graph
    return [n if n in graph.weights or has_point(graph, n, p) else "" for n, p in pairs]


def _fused_conv(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """FusedConv, FusedGemm: what the activation makes of it; a tensor added to it must be 0 too."""
    found = _with_bias(lookup, vertex) if activation_keeps_zero(vertex) else _NONE
    if len(vertex.inputs) > 3 and vertex.inputs[3]:
        found &= lookup.zero(vertex.inputs[3])
    return found


def activation_keeps_zero(vertex: Vertex) -> bool:
    """Whether the activation inside a fused operator maps 0 to 0."""
    given = vertex.attributes.get("activation", b"Relu")
    if not isinstance(given, bytes):
        return False
    name = given.decode(errors="replace")
    if name == "Clip":
        low, high = vertex.attributes.get("activation_params", (1.0, 0.0))[:2]
        return bool(low <= 0 <= high)
    return name in KEEPS_ZERO


def _matmul(lookup: Lookup, vertex: Vertex) -> Zeroes:
    ranks = [len(lookup.graph.shape(name) or ()) for name in vertex.inputs[:2]]
    if min(ranks) < 2:
        return _NONE
    rank = max(ranks)
    rows, columns = [rank - 2, -1], [-1, rank - 1]
    left = [*range(rank - ranks[0], rank - 2), *_turned(rows, vertex, "transA")]
    right = [*range(rank - ranks[1], rank - 2), *_turned(columns, vertex, "transB")]
    return lookup.product(vertex, vertex.inputs[:2], [left, right])


def _turned(places: list[int], vertex: Vertex, attribute: str) -> list[int]:
    return places[::-1] if vertex.attributes.get(attribute) else places


def _mul(lookup: Lookup, vertex: Vertex) -> Zeroes:
    rank = len(lookup.graph.shape(vertex.outputs[0]) or ())
    places = [
        list(range(rank - len(lookup.graph.shape(name) or ()), rank)) for name in vertex.inputs
    ]
    return lookup.product(vertex, vertex.inputs, places)


def _einsum(lookup: Lookup, vertex: Vertex) -> Zeroes:
    ranks = [len(lookup.graph.shape(name) or ()) for name in vertex.inputs]
    equation = equation_of(vertex, ranks)
    if equation is None:
        return _NONE
    places = [
        [equation.output.index(i) if i in equation.output else -1 for i in operand]
        for operand in equation.operands
    ]
    return lookup.product(vertex, vertex.inputs, places)


def _batch_norm(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """BatchNormalization, InstanceNormalization: 0 where scale and shift are."""
    found = lookup.zero(vertex.inputs[1]) & lookup.zero(vertex.inputs[2])
    return lookup.without_batch(vertex, found)


def _layer_norm(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """LayerNormalization, RMSNormalization: the normalised axes are 0 where scale and bias are."""
    given = [lookup.zero(name) for name in vertex.inputs[1:] if name]
    axes = lookup.labelling.axes[vertex.outputs[0]]
    outer = axes[: vertex.attributes.get("axis", -1) % len(axes)]
    return frozenset.intersection(*given).difference(*map(lookup.on, outer)) if given else _NONE


def _skip_layer_norm(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """Where scale and bias are; the sum, where it is an output too, where its parts are."""
    is_simple = vertex.op_type.startswith("SkipSimplified")
    scale = [name for name in vertex.inputs[2 : 3 if is_simple else 4] if name]
    axes = lookup.labelling.axes[vertex.outputs[0]]
    found = frozenset.intersection(*map(lookup.zero, scale))
    if len(vertex.outputs) > 3 and vertex.outputs[3]:
        parts = [0, 1, 3 if is_simple else 4]
        found &= lookup.all_operands(vertex, [s for s in parts if s < len(vertex.inputs)])
    return found.difference(*map(lookup.on, axes[:-1]))


def _either(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """If: 0 where it is 0 in both branches; Loop, Scan: where it is 0 in all that is carried."""
    return lookup.carriers(vertex)


def _concat(lookup: Lookup, vertex: Vertex) -> Zeroes:
    """0 where it is 0 in the operands; behind a gated edge, where what it comes from is 0."""
    found = lookup.carriers(vertex)
    gates = lookup.labelling.gates
    if not any((vertex.index, name) in gates for name in vertex.inputs):
        return found
    axes = lookup.labelling.axes[vertex.outputs[0]]
    place, start = vertex.attributes["axis"] % len(axes), 0
    along = lookup.classes.of(axes[place])
    bad: set[int] = set()
    for name in vertex.inputs:
        length = (lookup.graph.shape(name) or ())[place]
        if (vertex.index, name) in gates and along is not None:
            before = lookup.classes.of(lookup.labelling.axes[name][place])
            behind = along[start : start + length]
            zero = np.isin(-1 if before is None else before, list(lookup.zero(name)))
            stays = before is None or before < 0
            bad |= set(behind[~(zero | stays)].tolist())
        start += length
    return found - bad


def _div(lookup: Lookup, vertex: Vertex) -> Zeroes:
    return lookup.zero(vertex.inputs[0]) - lookup.zero(vertex.inputs[1])


def _clip(lookup: Lookup, vertex: Vertex) -> Zeroes:
    return lookup.zero(vertex.inputs[0]) if clip_keeps_zero(lookup.graph, vertex) else _NONE


def clip_keeps_zero(graph: TraceGraph, vertex: Vertex) -> bool:
    """Whether the known bounds of a Clip have 0 between them."""
    low, high = vertex.attributes.get("min", -1.0), vertex.attributes.get("max", 1.0)
    for slot, name in enumerate(vertex.inputs[1:3], 1):
        if not name:
            continue
        value = graph.constant(name)
        if value is None or value.size != 1:
            return False
        low, high = (value.item(), high) if slot == 1 else (low, value.item())
    return bool(low <= 0 <= high)


def _pow(lookup: Lookup, vertex: Vertex) -> Zeroes:
    exponent = lookup.graph.constant(vertex.inputs[1])
    positive = exponent is not None and exponent.size > 0 and bool((exponent > 0).all())
    return lookup.zero(vertex.inputs[0]) if positive else _NONE


def _pad(lookup: Lookup, vertex: Vertex) -> Zeroes:
    return lookup.zero(vertex.inputs[0]) if pads_with_zero(lookup.graph, vertex) else _NONE


def pads_with_zero(graph: TraceGraph, vertex: Vertex) -> bool:
    """Whether what a Pad adds is 0, or taken from the tensor itself."""
    if vertex.attributes.get("mode", b"constant") != b"constant":
        return True
    value = vertex.inputs[2] if len(vertex.inputs) > 2 else ""
    constant = graph.constant(value) if value else np.zeros(1)
    return constant is not None and not np.any(constant) and not vertex.attributes.get("value", 0.0)


def _where(lookup: Lookup, vertex: Vertex) -> Zeroes:
    return lookup.all_operands(vertex, (1, 2))


def _resize(lookup: Lookup, vertex: Vertex) -> Zeroes:
    mode = vertex.attributes.get("coordinate_transformation_mode", b"half_pixel")
    return _NONE if mode == b"tf_crop_and_resize" else lookup.zero(vertex.inputs[0])


_RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "If": _either,  # in the flat view: one of its branches
    "Loop": _either,
    "Scan": _either,
    "Conv": _with_bias,
    "ConvInteger": _qlinear_conv,
    "ConvTranspose": _with_bias,
    "DequantizeLinear": _dequantize,
    "Div": _div,
    "DynamicQuantizeLinear": _quantize,
    "Einsum": _einsum,
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_conv,
    "FusedMatMul": _matmul,
    "Gemm": _with_bias,
    "InstanceNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MatMulInteger": _stored_product,
    "Mul": _mul,
    "Pad": _pad,
    "Pow": _pow,
    "QGemm": _qlinear_conv,
    "QLinearAdd": _stored_sum,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _stored_product,
    "QLinearMul": _stored_product,
    "QuantizeLinear": _quantize,
    "RMSNormalization": _layer_norm,
    "Resize": _resize,
    "SimplifiedLayerNormalization": _layer_norm,
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_layer_norm,
    "Upsample": _resize,
    "Where": _where,
}
