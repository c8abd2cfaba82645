"""The model under the knife: a copy without weights, and what the solution does to its tensors.

Holds the state that the steps of the surgeon share, and the plain edits they have in common. Which
edits are needed is decided in ``erasing``, ``constants``, ``positions`` and ``attributes``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.shape_values import Values
from exporters.weights import Indices


@dataclass
class Draft:
    """A model being edited.

    Attributes:
        model: Copy of the working model; its main graph has no nodes and no initializers yet.
        nodes: Those of the main graph, in topological order; edited in place.
        initializers: By name, in the order of the file; replaced, never edited.
        keep: Tensor -> axis -> positions that stay, ascending; tensors that lose none are absent.
        shapes: Of every tensor after the cut, under the binding of the analysis.
        shapes_before: The same before it.
        origin: Node name -> the node as it was before any edit. Positions and lengths are those of
            its tensors: a spliced joint changes what a consumer reads, not what its bounds meant.
        zeros: Initial states of recurrent operators that hold nothing but 0, whatever their width.
        free: Tensor -> axes whose length depends on a free axis of the model.
        before: Shape arithmetic as it comes to before the cut.
        after: The same after it, as the draft stands.
    """

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    initializers: dict[str, onnx.TensorProto]
    keep: dict[str, Mapping[int, Indices]]
    shapes: dict[str, tuple[int, ...]]
    shapes_before: dict[str, tuple[int, ...]]
    origin: Mapping[str, onnx.NodeProto]
    zeros: frozenset[str] = frozenset()
    free: Mapping[str, frozenset[int]] = field(default_factory=dict)
    before: Values = field(default_factory=dict)
    after: Values = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        versions = [e.version for e in self.model.opset_import if e.domain in ("", "ai.onnx")]
        return versions[0] if versions else 1

    def kept(self, tensor: str, axis: int) -> Indices:
        """Positions of ``tensor`` that stay along ``axis``: all of them unless it is cut."""
        indices = self.keep.get(tensor, {}).get(axis)
        if indices is not None:
            return np.asarray(indices, np.int64)
        return np.arange(self.shapes_before[tensor][axis], dtype=np.int64)

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """Shape of ``tensor`` after the cut, if it is known."""
        if tensor in self.shapes:
            return tuple(self.shapes[tensor])
        if tensor not in self.initializers:
            return None
        dims = list(self.initializers[tensor].dims)
        for axis, indices in self.keep.get(tensor, {}).items():
            dims[axis] = len(indices)
        return tuple(dims)

    def rename(self, old: str, new: str) -> None:
        """Say of tensor ``new`` what is known of ``old``."""
        self.keep[new] = self.keep.get(old, {})
        if old in self.shapes:
            self.shapes[new] = self.shapes[old]
        if old in self.shapes_before:
            self.shapes_before[new] = self.shapes_before[old]

    def add_constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add an initializer called ``name``, or like it if that is taken; return its name."""
        name = self.free_name(name)
        self.initializers[name] = onnx.numpy_helper.from_array(np.asarray(values), name)
        return name

    def free_name(self, name: str) -> str:
        """``name``, or ``name__2``, ``name__3``, ... if a tensor or a node already has it."""
        taken = set(self.initializers) | names_in(self.model.graph) | names_of(self.nodes)
        candidate, number = name, 2
        while candidate in taken:
            candidate, number = f"{name}__{number}", number + 1
        return candidate

    def insert_after(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        """Put ``new`` right behind ``node`` in the main graph."""
        position = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes.insert(position + 1, new)


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that ``node`` carries: branches of an If, the body of a Loop or Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def with_bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Every node of ``nodes`` and of the bodies inside them, outer before inner."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from with_bodies(body.node)


def inputs_of(node: onnx.NodeProto) -> Iterator[str]:
    """Tensors that ``node`` reads, including those its bodies capture or define themselves."""
    yield from (name for name in node.input if name)
    for body in bodies(node):
        for inner in body.node:
            yield from inputs_of(inner)
        yield from (output.name for output in body.output)


def names_in(graph: onnx.GraphProto) -> set[str]:
    """Names of all tensors and nodes of ``graph`` and its bodies."""
    names = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    return names | names_of(graph.node)


def names_of(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Names of ``nodes``, of the tensors they read and write, and of all in their bodies."""
    names: set[str] = set()
    for node in nodes:
        names.update((node.name, *node.input, *node.output))
        for body in bodies(node):
            names |= names_in(body)
    return names


def get_attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute, or ``default`` if the node does not state it."""
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """State an attribute, in the place of the old one if there is one."""
    new = onnx.helper.make_attribute(name, value)
    for attribute in node.attribute:
        if attribute.name == name:
            attribute.CopyFrom(new)
            return
    node.attribute.append(new)


def drop_attribute(node: onnx.NodeProto, name: str) -> None:
    """Remove an attribute if it is there."""
    rest = [attribute for attribute in node.attribute if attribute.name != name]
    if len(rest) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(rest)


def normalised(axis: int, rank: int) -> int:
    """``axis`` counted from the front."""
    return axis + rank if axis < 0 else axis
