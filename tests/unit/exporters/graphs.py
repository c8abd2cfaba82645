"""Tiny networks with a hand-written analysis: what the surgeon needs and nothing else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.samples import bound_shapes, input_specs, random_feeds
from exporters.sessions import OFF, open_session, run
from graph_analysis.bodies import Bodies
from graph_analysis.search_space import (
    Group,
    GroupKind,
    ModelSummary,
    SearchSpace,
    WeightSlices,
)
from graph_analysis.solution import Solution

Keep = Mapping[str, Mapping[int, Sequence[int]]]


@dataclass(frozen=True)
class FakeEffects:
    removed_nodes: frozenset[str]
    keep: Mapping[str, Mapping[int, np.ndarray]]
    shapes: Mapping[str, tuple[int, ...]]
    splices: Mapping[str, str]
    dropped: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeLoaded:
    model: onnx.ModelProto
    generated_names: frozenset[str] = frozenset()
    sha256: str = "0" * 64
    copies: Mapping[str, str] = field(default_factory=dict)
    bodies: Bodies = field(default_factory=Bodies)

    @property
    def flat(self) -> onnx.ModelProto:
        return self.model


@dataclass(frozen=True)
class FakeGraph:
    zeros: frozenset[str] = frozenset()
    free: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeAnalysis:
    """An analysis that knows one solution, written down by hand."""

    loaded: FakeLoaded
    space: SearchSpace
    keep: Keep
    removed_nodes: frozenset[str] = frozenset()
    splices: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    graph: FakeGraph = FakeGraph()
    runs: bool = True  # False: ONNX Runtime does not know an operator, so shapes stay unknown

    @property
    def solution(self) -> Solution:
        """Everything that can be removed, removed."""
        removed = {group.id: range(group.units) for group in self.space.groups}
        return Solution.of(self.space, removed)

    @property
    def nothing(self) -> Solution:
        return Solution.of(self.space, {})

    def maskable_flat(self, solution: Solution) -> onnx.ModelProto:
        return self.loaded.model

    def violations(self, solution: Solution) -> tuple[str, ...]:
        return self.broken

    def effects(self, solution: Solution) -> FakeEffects:
        shapes = shapes_of(self.loaded.model) if self.runs else {}
        if not solution.removed:
            return FakeEffects(frozenset(), {}, shapes, {})
        keep = {
            name: {axis: np.asarray(indices) for axis, indices in axes.items()}
            for name, axes in self.keep.items()
        }
        gone = {
            output
            for node in self.loaded.model.graph.node
            if node.name in self.removed_nodes
            for output in node.output
        }
        left = {
            name: tuple(
                len(keep[name][axis]) if axis in keep.get(name, {}) else length
                for axis, length in enumerate(shape)
            )
            for name, shape in shapes.items()
            if name not in gone | set(self.splices)
        }
        return FakeEffects(self.removed_nodes, keep, left, self.splices)


def analysis(
    model: onnx.ModelProto,
    *,
    keep: Keep | None = None,
    zero: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
    removed_nodes: Sequence[str] = (),
    splices: Mapping[str, str] | None = None,
    generated: Sequence[str] = (),
    masked: bool = False,
    runs: bool = True,
) -> FakeAnalysis:
    """One group of one unit that zeroes ``zero`` and has the effects given."""
    group = Group(
        id="channel:all",
        kind=GroupKind.CHANNEL,
        units=1,
        zero=tuple(
            WeightSlices(initializer=name, axis=axis, unit_indices=(tuple(indices),))
            for name, axes in (zero or {}).items()
            for axis, indices in axes.items()
        ),
        cut=(),
        masked=masked,
    )
    summary = ModelSummary(sha256="0" * 64, opset=17, producer="", parameters=0, macs=0)
    return FakeAnalysis(
        loaded=FakeLoaded(model, frozenset(generated)),
        space=SearchSpace(model=summary, segments=(), groups=(group,), frozen=()),
        keep=keep or {},
        removed_nodes=frozenset(removed_nodes),
        splices=splices or {},
        runs=runs,
    )


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors, measured by running the model with its free axes bound to 1."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    ours = {value.name for value in shown.graph.output}
    for proto in shown.graph.node:
        names = [name for name in proto.output if name and name not in ours]
        shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    specs = input_specs(model)
    feeds = random_feeds(specs, bound_shapes(specs, batch=1), np.random.default_rng(0))
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for arrays in (feeds, run(open_session(shown, level=OFF), feeds)):
        shapes |= {name: array.shape for name, array in arrays.items()}
    return shapes


def build(
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Any],
    *,
    opset: int = 17,
    input_types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A checked model; ``weights`` are arrays, or shapes to be filled with random numbers."""
    rng = np.random.default_rng(7)
    tensors = []
    for name, value in weights.items():
        array = value
        if isinstance(value, tuple):
            array = rng.standard_normal(value).astype(np.float32)
            if re.search("var", name):
                array = np.abs(array) + np.float32(0.5)
        tensors.append(numpy_helper.from_array(np.asarray(array), name))
    types = input_types or {}
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), list(shape))
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), list(shape))
            for name, shape in outputs.items()
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node called after its first output."""
    outs = outputs.split()
    return helper.make_node(op, inputs.split(), outs, name=f"n_{outs[0]}", **attributes)


def residual_concat() -> FakeAnalysis:
    """conv-BN-ReLU trunk (8) with an added branch, then a Concat with a second branch (4).

    Kept: trunk channels 0, 2, 3, 7, the branch's inner 1, 4; of the concatenated 4 the last two.
    """
    nodes = [
        node("Conv", "x w0 b0", "c0", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c0 g0 s0 m0 var0", "t0"),
        node("Relu", "t0", "t"),
        node("Conv", "t w1 b1", "c1"),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2"),
        node("Add", "t c2", "a"),
        node("Conv", "a w3 b3", "c3"),
        node("Concat", "a c3", "k", axis=1),
        node("BatchNormalization", "k g4 s4 m4 var4", "n4"),
        node("Relu", "n4", "r4"),
        node("GlobalAveragePool", "r4", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f wf bf", "y", transB=1),
    ]
    weights: dict[str, Any] = {
        "w0": (8, 3, 3, 3), "b0": (8,), "g0": (8,), "s0": (8,), "m0": (8,), "var0": (8,),
        "w1": (6, 8, 1, 1), "b1": (6,), "w2": (8, 6, 1, 1), "b2": (8,),
        "w3": (4, 8, 1, 1), "b3": (4,),
        "g4": (12,), "s4": (12,), "m4": (12,), "var4": (12,), "wf": (5, 12), "bf": (5,),
    }  # fmt: skip
    model = build({"x": ["n", 3, 8, 8]}, {"y": ["n", 5]}, nodes, weights)
    trunk, inner, last = [0, 2, 3, 7], [1, 4], [2, 3]
    joint = trunk + [8 + i for i in last]
    keep: dict[str, dict[int, Sequence[int]]] = {}
    for name in ("w0", "b0", "g0", "s0", "m0", "var0", "w2", "b2"):
        keep[name] = {0: trunk}
    for name in ("c0", "t0", "t", "c2", "a"):
        keep[name] = {1: trunk}
    keep |= {"w1": {0: inner, 1: trunk}, "b1": {0: inner}, "c1": {1: inner}, "r1": {1: inner}}
    keep["w2"] = {0: trunk, 1: inner}
    keep |= {"w3": {0: last, 1: trunk}, "b3": {0: last}, "c3": {1: last}}
    keep |= {name: {1: joint} for name in ("k", "n4", "r4", "p", "f", "wf")}
    keep |= {name: {0: joint} for name in ("g4", "s4", "m4", "var4")}
    gone, gone_inner, gone_joint = [1, 4, 5, 6], [0, 2, 3, 5], [1, 4, 5, 6, 8, 9]
    zero = {"g0": {0: gone}, "s0": {0: gone}, "w2": {0: gone}, "b2": {0: gone}}
    zero |= {"w1": {0: gone_inner}, "b1": {0: gone_inner}, "g4": {0: gone_joint}}
    zero |= {"s4": {0: gone_joint}, "wf": {1: gone_joint}}
    return analysis(model, keep=keep, zero=zero)


def erased_branch() -> FakeAnalysis:
    """A residual Add and a Concat, each with one branch erased; the Add's output is an output."""
    nodes = [
        node("Conv", "x w0 b0", "t"),
        node("Conv", "t w1 b1", "c1"),
        node("Add", "t c1", "a"),
        node("Conv", "a w2 b2", "c2"),
        node("Relu", "a", "r2"),
        node("Conv", "r2 w3 b3", "c3"),
        node("Concat", "a c2 c3", "k", axis=1),
        node("Conv", "k w4 b4", "y"),
    ]
    weights: dict[str, Any] = {
        "w0": (4, 3, 1, 1), "b0": (4,), "w1": (4, 4, 1, 1), "b1": (4,),
        "w2": (2, 4, 1, 1), "b2": (2,), "w3": (3, 4, 1, 1), "b3": (3,),
        "w4": (2, 9, 1, 1), "b4": (2,),
    }  # fmt: skip
    model = build({"x": ["n", 3, 4, 4]}, {"y": ["n", 2, 4, 4]}, nodes, weights)
    left = [0, 1, 2, 3, 6, 7, 8]
    return analysis(
        model,
        keep={"k": {1: left}, "w4": {1: left}},
        zero={"w1": {0: range(4)}, "b1": {0: range(4)}, "w2": {0: [0, 1]}, "b2": {0: [0, 1]}},
        removed_nodes=["n_c1", "n_c2"],
        splices={"a": "t"},
    )


def between_convs(
    middle: Sequence[onnx.NodeProto],
    *,
    into: str,
    width: int = 8,
    out_width: int | None = None,
    kept: Sequence[int] = (0, 2, 5, 7),
    kept_out: Sequence[int] | None = None,
    weights: Mapping[str, Any] | None = None,
    middle_keep: Keep | None = None,
    opset: int = 17,
    size: int = 4,
    input_shape: Sequence[int | str] | None = None,
    groups: int = 1,
) -> FakeAnalysis:
    """conv -> ``middle`` -> conv, with ``width`` channels into the middle and its own number out.

    ``middle`` reads tensor "c" and makes tensor ``into``. The first convolution's rows that go, and
    the columns of the last one, are zeroed.
    """
    out_width = width if out_width is None else out_width
    kept_out = list(kept if kept_out is None else kept_out)
    nodes = [
        node("Conv", "x w0 b0", "c"),
        *middle,
        node("Conv", f"{into} w9 b9", "y", group=groups),
    ]
    tensors: dict[str, Any] = {
        "w0": (width, 3, 1, 1),
        "b0": (width,),
        "w9": (2 * groups, out_width // groups, 1, 1),
        "b9": (2 * groups,),
        **(weights or {}),
    }
    shape = ["n", 3, size, size] if input_shape is None else input_shape
    model = build({"x": shape}, {"y": ["n", 2 * groups, "h", "w"]}, nodes, tensors, opset=opset)
    gone = [i for i in range(width) if i not in kept]
    gone_out = [i for i in range(out_width) if i not in kept_out]
    keep: dict[str, Mapping[int, Sequence[int]]] = {
        "w0": {0: list(kept)},
        "b0": {0: list(kept)},
        "c": {1: list(kept)},
        into: {1: kept_out},
        "w9": {1: kept_out},
        **(middle_keep or {}),
    }
    zero = {"w0": {0: gone}, "b0": {0: gone}, "w9": {1: gone_out}}
    return analysis(model, keep=keep, zero=zero)
