"""The ONNX graph as read: vertices (operators), tensors, and who uses what."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from graph_analysis.bodies import CONTROL, Bodies
from graph_analysis.known_shapes import Array, Shapes
from graph_analysis.settings import Operation

FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)
Edge = tuple[int, str]  # a vertex, and a tensor that it reads
STATE_SLOTS = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}  # initial states of recurrent operators
_LENGTHS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
_MAKERS = ("ConstantOfShape", "EyeLike", "Range", "Shape", "Size")
_LOOPS = ("Loop", "Scan")
MOVES_ONLY = frozenset(
    {
        "Cast",
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """One operator; ``index`` is its place in the working copy's node list."""

    index: int
    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def is_standard(self) -> bool:
        """Whether the operator belongs to the standard domain."""
        return self.domain in ("", "ai.onnx")


@dataclass(frozen=True, kw_only=True)
class TraceGraph:
    """Vertices in topological order, and what is known of the tensors between them."""

    vertices: tuple[Vertex, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, onnx.TensorProto]
    shapes: Shapes
    free: Mapping[str, frozenset[int]]  # tensor -> axes whose length depends on a free axis
    opset: int
    varying: frozenset[str] = frozenset()  # constants under the binding that a free axis changes
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # vertex in a body -> nodes
    unstable: Mapping[str, str] = field(default_factory=dict)  # Loop or Scan -> state (``Shapes``)
    left_whole: Mapping[str, str] = field(default_factory=dict)  # node with bodies -> why

    @cached_property
    def consumers(self) -> Mapping[str, tuple[tuple[int, int], ...]]:
        """Tensor -> (vertex index, slot) of every use."""
        uses: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for vertex in self.vertices:
            for slot, name in enumerate(vertex.inputs):
                if name:
                    uses[name].append((vertex.index, slot))
        return {name: tuple(entries) for name, entries in uses.items()}

    @cached_property
    def producer(self) -> Mapping[str, int]:
        """Tensor -> index of the vertex that makes it."""
        return {name: v.index for v in self.vertices for name in v.outputs if name}

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The vertices as far as their settings are concerned."""
        return tuple(
            Operation(v.op_type if v.is_standard else "", v.inputs, v.outputs)
            for v in self.vertices
        )

    @cached_property
    def weights(self) -> frozenset[str]:
        """Initializers, and tensors computed from nothing else."""
        found = set(self.initializers)
        for vertex in self.vertices:
            is_fixed = vertex.inputs and vertex.domain != CONTROL  # a state changes, a branch too
            if is_fixed and all(not name or name in found for name in vertex.inputs):
                found.update(vertex.outputs)
        return frozenset(found)

    @cached_property
    def stored(self) -> frozenset[str]:
        """The ``weights`` that hold values of some initializer, which can be set to 0.

        One number spread over a shape is none of them, nor what is computed from lengths.
        """
        found = {n for n, tensor in self.initializers.items() if tensor.data_type not in _LENGTHS}
        for vertex in self.vertices:
            is_spread = vertex.op_type == "Expand" and not self._has_positions(vertex.inputs[0])
            if vertex.outputs[0] not in self.weights or vertex.op_type in _MAKERS or is_spread:
                continue
            if not found.isdisjoint(vertex.inputs):
                found.update(vertex.outputs)
        return frozenset(found)

    def _has_positions(self, name: str) -> bool:
        return any(length != 1 for length in self.shape(name) or ())

    @cached_property
    def reached(self) -> frozenset[int]:
        """Vertices that a graph output depends on."""
        found: set[int] = set()
        stack = list(self.outputs)
        while stack:
            index = self.producer.get(stack.pop())
            if index is not None and index not in found:
                found.add(index)
                stack.extend(self.vertices[index].inputs)
        return frozenset(found)

    @cached_property
    def uses(self) -> Mapping[str, int]:
        """Tensor -> how often a reached vertex reads it or it is a graph output."""
        read = (n for index in self.reached for n in self.vertices[index].inputs if n)
        return Counter([*self.outputs, *read])

    @cached_property
    def fed(self) -> frozenset[str]:
        """Tensors that depend on a graph input, and the inputs."""
        found = set(self.inputs)
        for vertex in self.vertices:
            if not found.isdisjoint(vertex.inputs):
                found.update(filter(None, vertex.outputs))
        return frozenset(found)

    @cached_property
    def zeros(self) -> frozenset[str]:
        """Initial states of recurrent operators, and what makes them, that hold nothing but 0.

        A state of zeros is what the operators take if they are given none.
        """
        known: dict[str, bool] = {}
        for vertex in self.vertices:
            for slot in STATE_SLOTS.get(vertex.op_type, ()) if vertex.is_standard else ():
                if slot < len(vertex.inputs) and vertex.inputs[slot]:
                    self._is_zero(vertex.inputs[slot], known)
        return frozenset(name for name, is_zero in known.items() if is_zero)

    def _is_zero(self, name: str, known: dict[str, bool]) -> bool:
        if name not in known:
            maker = self.vertices[self.producer[name]] if name in self.producer else None
            if name in self.initializers and name not in self.inputs:
                known[name] = not np.any(numpy_helper.to_array(self.initializers[name]))
            elif maker is None or not maker.is_standard:
                known[name] = False
            elif maker.op_type == "ConstantOfShape":
                value = maker.attributes.get("value")
                known[name] = value is None or not np.any(numpy_helper.to_array(value))
            else:
                parts = maker.inputs if maker.op_type == "Concat" else maker.inputs[:1]
                moves = maker.op_type in MOVES_ONLY
                known[name] = moves and all(self._is_zero(part, known) for part in parts)
        return known[name]

    def constant(self, name: str) -> Array | None:
        """Value of a small tensor that does not depend on the data, under the binding."""
        return self.shapes.constant.get(name)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape under the binding, or None."""
        return self.shapes.shape.get(name)

    def is_float(self, name: str) -> bool:
        """Whether the tensor holds floating-point numbers (unknown counts as yes)."""
        return self.shapes.dtype.get(name, onnx.TensorProto.FLOAT) in FLOATS


def trace(
    model: onnx.ModelProto, first: Shapes, second: Shapes, bodies: Bodies | None = None
) -> TraceGraph:
    """Build the graph of a working copy from its shapes under two bindings.

    Where it is the flat view of a model, ``bodies`` says which vertex lies in which body.
    """
    bodies = bodies or Bodies()
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    vertices = tuple(
        Vertex(
            index=index,
            name=node.name,
            op_type=node.op_type,
            domain=node.domain,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )
        for index, node in enumerate(model.graph.node)
    )
    free = {}
    for name, shape in first.shape.items():
        other = second.shape.get(name, ())
        if len(other) != len(shape):
            free[name] = frozenset(range(len(shape)))
        else:
            free[name] = frozenset(
                axis
                for axis, pair in enumerate(zip(shape, other, strict=True))
                if len(set(pair)) > 1
            )
    return TraceGraph(
        vertices=vertices,
        inputs=tuple(v.name for v in model.graph.input if v.name not in initializers),
        outputs=tuple(value.name for value in model.graph.output),
        initializers=initializers,
        shapes=first,
        free=free,
        opset=next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        varying=frozenset(
            name
            for name, value in first.constant.items()
            if name not in initializers and not _is_same(value, second.constant.get(name))
        ),
        owners=_owners(vertices, bodies),
        unstable={**second.unstable, **first.unstable},
        left_whole=bodies.left_whole,
    )


def _is_same(value: Array, other: Array | None) -> bool:
    return other is not None and np.array_equal(value, other)


def _owners(vertices: tuple[Vertex, ...], bodies: Bodies) -> dict[str, tuple[str, ...]]:
    """Vertex -> the nodes whose bodies are around it, innermost first; a Loop is in its own."""
    found = {}
    for vertex in vertices:
        own = (vertex.name,) if vertex.domain == CONTROL and vertex.op_type in _LOOPS else ()
        around = own + bodies.owners(vertex.name)
        if around:
            found[vertex.name] = around
    return found
