"""Operators that take statistics over an axis that may shrink, and their masked form.

Zeroing a channel is not removing it where a mean, a maximum or a softmax runs over the channels. In
the masked form every such operator looks at a mask as well: a tensor of ones along that axis, whose
positions are set to 0 when they go. A masked position then has no weight in the statistics, exactly
as if it were not there; between 1 and 0 it counts in part, so training can lead it out smoothly.

========================================  ==================================================
ReduceSum, SumSquare, L1, L2, LogSum      of ``x * m``
ReduceMean                                of ``x * m``, divided by the mean of ``m``
ReduceMax, ReduceLogSumExp, Softmax       of ``x + log m``
ReduceMin                                 of ``x - log m``
LayerNormalization, RMSNormalization      written out, with the first two kinds of means; what
and their fused kin                       is fused in front (a sum, tables) is written out too
========================================  ==================================================
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

MASK_DOC = "secateur: mask"  # doc string of the initializers that are masks
_SUMS = ("ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum")
_AXES_ARE_INPUT_SINCE = 18  # of ReduceMean
_CAST_LIKE_SINCE = 15
_LAST: Sequence[int] = (-1,)
_FUSED_EPSILON = 1e-12  # what ONNX Runtime takes if a fused operator states none


@dataclass(frozen=True, kw_only=True)
class Mask:
    """What says which positions along one axis of one operator's input still count.

    Attributes:
        name: Of the initializer in the masked form; its shape is ``length`` at ``axis``, else 1.
        node: Name of the operator.
        tensor: The input: the first, but for tables that an operator picks rows of.
        axis: Of the input.
        rank: Of the input.
        length: Of the axis.
        dtype: ONNX element type.
    """

    name: str
    node: str
    tensor: str
    axis: int
    rank: int
    length: int
    dtype: int

    def ones(self) -> onnx.TensorProto:
        """The mask with nothing removed."""
        shape = [1] * self.rank
        shape[self.axis] = self.length
        dtype = helper.tensor_dtype_to_np_dtype(self.dtype)
        tensor = numpy_helper.from_array(np.ones(shape, dtype), self.name)
        tensor.doc_string = MASK_DOC
        return tensor


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A factor on what joints read: 1, and 0 once the branch that ends there is gone.

    Attributes:
        name: Of the initializer in the masked form; it holds one element.
        edges: Names of joints, and the tensor that each of them reads through the gate.
        dtype: ONNX element type.
    """

    name: str
    edges: tuple[tuple[str, str], ...]
    dtype: int

    def ones(self) -> onnx.TensorProto:
        """The open gate."""
        dtype = helper.tensor_dtype_to_np_dtype(self.dtype)
        tensor = numpy_helper.from_array(np.ones(1, dtype), self.name)
        tensor.doc_string = MASK_DOC
        return tensor


def maskable(model: onnx.ModelProto, masks: Iterable[Mask | Gate]) -> onnx.ModelProto:
    """``model`` with the operators of ``masks`` in their masked form; computes the same.

    Args:
        model: The working copy; not modified.
        masks: Those wanted; operators without one stay as they are. A product is put before each
            joint that a gate names.
    """
    by_node: dict[str, list[Mask]] = defaultdict(list)
    gates: list[Gate] = []
    for mask in masks:
        if isinstance(mask, Gate):
            gates.append(mask)
        else:
            by_node[mask.node].append(mask)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _put_gates(result.graph, gates)
    if not by_node:
        return result
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        wanted = by_node.get(node.name)
        if wanted is None:
            nodes.append(node)
            continue
        form = _Form(node, wanted, opset)
        FORMS[node.op_type](form)
        nodes += form.nodes
        result.graph.initializer.extend(mask.ones() for mask in wanted)
    kept = [_copied(node) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    return result


def _put_gates(graph: onnx.GraphProto, gates: Iterable[Gate]) -> None:
    before: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    now: dict[tuple[str, str], str] = {}  # what a joint reads where the file says tensor
    for gate in gates:
        graph.initializer.append(gate.ones())
        for number, (joint, tensor) in enumerate(gate.edges):
            name = f"{gate.name}{number}"
            inputs = [now.get((joint, tensor), tensor), gate.name]
            before[joint].append(helper.make_node("Mul", inputs, [name], name=name))
            now[joint, tensor] = name
    if not before:
        return
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += before.get(node.name, [])
        gated = [now.get((node.name, tensor), tensor) for tensor in node.input]
        if node.name in before:
            node.input[:] = gated
        nodes.append(node)
    kept = [_copied(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


class _Form:
    """The masked form of one node while it is written."""

    def __init__(self, node: onnx.NodeProto, masks: Sequence[Mask], opset: int) -> None:
        self.node = node
        self.rank = masks[0].rank
        self.nodes: list[onnx.NodeProto] = []
        self._opset = opset
        self._dtype = masks[0].dtype
        self.mask = masks[0].name
        for other in masks[1:]:
            self.mask = self.op("Mul", [self.mask, other.name])

    @property
    def x(self) -> str:
        """The input that is looked at."""
        return str(self.node.input[0])

    def op(
        self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Add an operator; the name of what it makes."""
        name = f"{self.node.name}/masked{len(self.nodes)}"
        made = output or name
        self.nodes.append(helper.make_node(kind, inputs, [made], name=name, **attributes))
        return made

    def mean(self, name: str, axes: Sequence[int]) -> str:
        """Mean over ``axes``, which stay with length 1."""
        if self._opset < _AXES_ARE_INPUT_SINCE:
            return self.op("ReduceMean", [name], axes=list(axes), keepdims=1)
        return self.op("ReduceMean", [name, self.integers(axes)], keepdims=1)

    def share(self) -> str:
        """Mean of the mask: the share of positions that count, a scalar."""
        return self.op("ReduceMean", [self.mask], keepdims=0)

    def number(self, value: float, like: str) -> str:
        """One number of the element type of ``like``, which is that of the mask."""
        if self._opset >= _CAST_LIKE_SINCE:
            single = numpy_helper.from_array(np.asarray(value, np.float32))
            return self.op("CastLike", [self.op("Constant", [], value=single), like])
        dtype = helper.tensor_dtype_to_np_dtype(self._dtype)
        return self.op("Constant", [], value=numpy_helper.from_array(np.asarray(value, dtype)))

    def integers(self, values: Sequence[int]) -> str:
        """A constant of integers."""
        value = numpy_helper.from_array(np.asarray(values, np.int64))
        return self.op("Constant", [], value=value)

    def given(self, slot: int) -> str:
        """Name of an input, or empty if it is left out."""
        return str(self.node.input[slot]) if slot < len(self.node.input) else ""

    def again(self, first_input: str, output: str | None = None) -> str:
        """The node itself on another first input."""
        copy = _copied(self.node)
        copy.input[0] = first_input
        made = output or f"{self.node.name}/masked{len(self.nodes)}"
        copy.output[0] = made
        self.nodes.append(copy)
        return made


def _sum(form: _Form) -> None:
    form.again(form.op("Mul", [form.x, form.mask]), form.node.output[0])


def _mean(form: _Form) -> None:
    found = form.again(form.op("Mul", [form.x, form.mask]))
    form.op("Div", [found, form.share()], form.node.output[0])


def _largest(form: _Form) -> None:
    logarithm = form.op("Log", [form.mask])
    form.again(form.op("Add", [form.x, logarithm]), form.node.output[0])


def _smallest(form: _Form) -> None:
    logarithm = form.op("Log", [form.mask])
    form.again(form.op("Sub", [form.x, logarithm]), form.node.output[0])


def _layer_norm(form: _Form) -> None:
    _normalise(form, form.x, _normalised(form), form.node.input[1:3])


def _rms_norm(form: _Form) -> None:
    """RMSNormalization, SimplifiedLayerNormalization, which has its statistic one place earlier."""
    inverse = _output(form, 1)
    _scaled(form, form.x, _normalised(form), form.node.input[1:2], inverse=inverse)


def _skip_layer_norm(form: _Form) -> None:
    """Input + skip + bias, normalised; the sum is the fourth output."""
    is_simple = form.node.op_type.startswith("SkipSimplified")
    bias = form.given(3 if is_simple else 4)
    total = form.op("Add", [form.x, form.given(1)], None if bias else _output(form, 3))
    if bias:
        total = form.op("Add", [total, bias], _output(form, 3))
    if is_simple:
        scale = [form.given(2)]
        _scaled(form, total, _LAST, scale, inverse=_output(form, 2), epsilon=_FUSED_EPSILON)
    else:
        scale = [form.given(2), form.given(3)]
        _normalise(form, total, _LAST, scale, epsilon=_FUSED_EPSILON)


def _embed_layer_norm(form: _Form) -> None:
    """Word + position + segment, each picked from its table, normalised.

    The second output counts what the mask lets through; the operator itself goes on making it.
    """
    ids, segments, places = form.x, form.given(1), form.given(8)
    word, position, segment = (form.given(slot) for slot in (2, 3, 4))
    if not places:
        length = form.op("Gather", [form.op("Shape", [ids]), form.integers([1])])
        zero, first = form.integers([0]), form.integers([0])
        position = form.op("Slice", [position, zero, length, first])
    else:
        position = form.op("Gather", [position, places])
    last = None if segments else _output(form, 2)
    total = form.op("Add", [form.op("Gather", [word, ids]), position], last)
    if segments:
        picked = form.op("Gather", [segment, segments])
        total = form.op("Add", [total, picked], _output(form, 2))
    if _output(form, 1):
        copy = _copied(form.node)
        copy.name = f"{form.node.name}/masked{len(form.nodes)}"
        del copy.output[:]
        copy.output.extend([f"{copy.name}/unused", form.node.output[1]])
        form.nodes.append(copy)
    scale = [form.given(5), form.given(6)]
    _normalise(form, total, _LAST, scale, statistics=False, epsilon=_FUSED_EPSILON)


def _normalise(
    form: _Form,
    x: str,
    axes: Sequence[int],
    scale_and_bias: Sequence[str],
    *,
    statistics: bool = True,
    epsilon: float = 1e-5,
) -> None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; the means are weighted by the mask."""
    masked = form.op("Mul", [x, form.mask])
    mean_output, inverse = (_output(form, slot) if statistics else None for slot in (1, 2))
    mean = form.op("Div", [form.mean(masked, axes), form.share()], mean_output)
    centred = form.op("Sub", [x, mean])
    _scaled(form, centred, axes, scale_and_bias, inverse=inverse, epsilon=epsilon)


def _scaled(
    form: _Form,
    x: str,
    axes: Sequence[int],
    scale_and_bias: Sequence[str],
    *,
    inverse: str | None = None,
    epsilon: float = 1e-5,
) -> None:
    weighted = form.op("Mul", [form.op("Mul", [x, x]), form.mask])
    variance = form.op("Div", [form.mean(weighted, axes), form.share()])
    small = form.number(_attribute(form.node, "epsilon", epsilon), variance)
    root = form.op("Sqrt", [form.op("Add", [variance, small])])
    factor = form.op("Reciprocal", [root], inverse)
    names = [name for name in scale_and_bias if name]
    value = form.op("Mul", [x, factor])
    steps = ["Mul", "Add"][: len(names)]
    for number, (kind, name) in enumerate(zip(steps, names, strict=True), 1):
        last = form.node.output[0] if number == len(names) else None
        value = form.op(kind, [value, name], last)


def _normalised(form: _Form) -> list[int]:
    start = int(_attribute(form.node, "axis", -1)) % form.rank
    return list(range(start, form.rank))


def _output(form: _Form, slot: int) -> str | None:
    return (form.node.output[slot] if len(form.node.output) > slot else "") or None


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            return float(helper.get_attribute_value(attribute))
    return default


FORMS: dict[str, Callable[[_Form], None]] = {
    **dict.fromkeys(_SUMS, _sum),
    "ReduceMean": _mean,
    "ReduceMax": _largest,
    "ReduceLogSumExp": _largest,
    "ReduceMin": _smallest,
    "Softmax": _largest,
    "EmbedLayerNormalization": _embed_layer_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "SimplifiedLayerNormalization": _rms_norm,
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_layer_norm,
}
