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
LayerNormalization, RMSNormalization      written out, with the first two kinds of means
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


@dataclass(frozen=True, kw_only=True)
class Mask:
    """What says which positions along one axis of one operator's first input still count.

    Attributes:
        name: Of the initializer in the masked form; its shape is ``length`` at ``axis``, else 1.
        node: Name of the operator.
        axis: Of its first input.
        rank: Of its first input.
        length: Of the axis.
        dtype: ONNX element type.
    """

    name: str
    node: str
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
        form = _Form(node, [mask.name for mask in wanted], wanted[0].rank, opset)
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

    def __init__(self, node: onnx.NodeProto, masks: Sequence[str], rank: int, opset: int) -> None:
        self.node = node
        self.rank = rank
        self.nodes: list[onnx.NodeProto] = []
        self._opset = opset
        self.mask = masks[0]
        for other in masks[1:]:
            self.mask = self.op("Mul", [self.mask, other])

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
        value = numpy_helper.from_array(np.asarray(axes, np.int64))
        constant = self.op("Constant", [], value=value)
        return self.op("ReduceMean", [name, constant], keepdims=1)

    def share(self) -> str:
        """Mean of the mask: the share of positions that count, a scalar."""
        return self.op("ReduceMean", [self.mask], keepdims=0)

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
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; the means are weighted by the mask."""
    axes, share = _normalised(form), form.share()
    masked = form.op("Mul", [form.x, form.mask])
    mean = form.op("Div", [form.mean(masked, axes), share], _output(form, 1))
    centred = form.op("Sub", [form.x, mean])
    _scaled(form, centred, axes, share)


def _rms_norm(form: _Form) -> None:
    _scaled(form, form.x, _normalised(form), form.share())


def _scaled(form: _Form, x: str, axes: Sequence[int], share: str) -> None:
    weighted = form.op("Mul", [form.op("Mul", [x, x]), form.mask])
    variance = form.op("Div", [form.mean(weighted, axes), share])
    epsilon = _attribute(form.node, "epsilon", 1e-5)
    small = form.op("CastLike", [_scalar(form, epsilon), variance])
    root = form.op("Sqrt", [form.op("Add", [variance, small])])
    inverse = form.op("Reciprocal", [root], _output(form, 2))
    names = [name for name in form.node.input[1:] if name]
    value = form.op("Mul", [x, inverse])
    steps = ["Mul", "Add"][: len(names)]
    for number, (kind, name) in enumerate(zip(steps, names, strict=True), 1):
        last = form.node.output[0] if number == len(names) else None
        value = form.op(kind, [value, name], last)


def _normalised(form: _Form) -> list[int]:
    start = int(_attribute(form.node, "axis", -1)) % form.rank
    return list(range(start, form.rank))


def _output(form: _Form, slot: int) -> str | None:
    return (form.node.output[slot] if len(form.node.output) > slot else "") or None


def _scalar(form: _Form, value: float) -> str:
    tensor = numpy_helper.from_array(np.asarray(value, np.float32))
    return form.op("Constant", [], value=tensor)


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
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
}
