"""Translates the body of an If, Loop or Scan: into a graph of its own, or into the one around it.

A graph of its own holds no tensors. What it captures from outside, weights included, is passed to
it as arguments, so that it can be copied and pickled, and a weight used in several bodies is one
parameter of the module around them all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import onnx
import torch
from torch import fx

from graph_analysis.bodies import MAX_DEPTH
from optimizer.bridge.joining import like
from optimizer.bridge.scopes import all_nodes
from optimizer.bridge.trainable_graph import TrainableGraph
from optimizer.bridge.unsupported import UnsupportedVariant
from optimizer.bridge.values import Value, constant_of
from optimizer.bridge.writer import Writer


class Importer(Protocol):
    """What translates nodes one after the other: ``importer.GraphImport``."""

    writer: Writer
    values: dict[str, Value]

    @property
    def is_stopped(self) -> bool:
        """Whether something unsupported was found."""

    @property
    def inferred(self) -> Mapping[str, object]:
        """What ONNX infers of tensors; worked out once."""

    def find(self, name: str) -> Value | None:
        """What a name stands for, if that is known."""

    def lookup(self, name: str, reader: str) -> Value:
        """What a name stands for."""

    def translate(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Translate nodes in order."""


_WRITTEN_OUT = 400  # nodes that all calls of a body may come to where they are written out
_REPEATS = frozenset({"Loop", "SequenceMap"})


class BodyWriter(Writer):
    """Writes the torch graph of a body; tensors that it needs become arguments.

    Attributes:
        captured: Values of the graph around it, in the order of the arguments.
        depth: How many bodies there are around what is written, this one included.

    Raises:
        UnsupportedVariant: Bodies are nested deeper than the search space looks into.
    """

    def __init__(self, outer: Writer) -> None:
        self.depth: int = outer.depth + 1 if isinstance(outer, BodyWriter) else 1
        if self.depth > MAX_DEPTH:
            message = f"has bodies that are nested deeper than {MAX_DEPTH}"
            raise UnsupportedVariant(message)
        super().__init__(outer.paths, batch=outer.batch)
        self.baked = outer.baked
        self.anchor = outer.anchor
        self.captured: list[Value] = []
        self._inner: dict[Value, Value] = {}

    def argument(self, name: str) -> fx.Node:
        """Declare the next argument of the body."""
        first = next((node for node in self.graph.nodes if node.op != "placeholder"), None)
        if first is None:
            return self.graph.create_node("placeholder", name)
        with self.graph.inserting_before(first):
            return self.graph.create_node("placeholder", name)

    def capture(self, outer: Value) -> Value:
        """Return a value of the graph around as the body sees it."""
        if outer.items is not None:
            return replace(outer, items=tuple(self.capture(item) for item in outer.items))
        if outer.constant is not None or outer.is_absent:
            return outer
        if outer not in self._inner:
            self.captured.append(outer)
            node = self.argument(f"captured_{len(self.captured)}")
            self._inner[outer] = replace(outer, node=node)
        return self._inner[outer]

    def node(self, value: Value) -> fx.Node | None:
        """Return where ``value`` lives; a constant lives in the graph around."""
        if value.constant is None or value.node is not None:
            return super().node(value)
        if value not in self._nodes:
            self.captured.append(value)
            self._nodes[value] = self.argument(f"captured_{len(self.captured)}")
        return self._nodes[value]


class BodyValues(dict[str, Value]):
    """Values of a body by name; others are looked up outside and captured."""

    def __init__(
        self, find: Callable[[str], Value | None], capture: Callable[[Value], Value]
    ) -> None:
        super().__init__()
        self._find = find
        self._capture = capture

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self._fetch(str(name))

    def __getitem__(self, name: str) -> Value:
        if not super().__contains__(name) and not self._fetch(name):
            raise KeyError(name)
        return super().__getitem__(name)

    def _fetch(self, name: str) -> bool:
        found = self._find(name)
        if found is not None:
            self[name] = self._capture(found)
        return found is not None


@dataclass(frozen=True, kw_only=True)
class Body:
    """A body as torch code.

    Attributes:
        graph: Takes the body's inputs and then what it captures, returns a tuple.
        captured: What to pass for the latter: values of the graph around.
        inputs: The body's inputs, as its graph sees them.
        outputs: The body's outputs, as its graph sees them.
        writer: Owns what is written; ``finish`` makes ``graph`` of it.
    """

    captured: Sequence[Value]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    writer: BodyWriter

    def finish(self, results: Iterable[object]) -> TrainableGraph:
        """Return the graph that yields ``results``: values of the body or Python numbers."""
        nodes: Any = tuple(
            self.writer.node(result) if isinstance(result, Value) else result for result in results
        )
        self.writer.graph.output(nodes)
        return TrainableGraph(self.writer.root, self.writer.graph)


class Bodies:
    """Translates the bodies of one node; what a translator of control flow works with."""

    def __init__(self, owner: Importer, node: onnx.NodeProto) -> None:
        self._owner = owner
        self._graphs: dict[str, onnx.GraphProto] = {
            a.name: a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH
        }

    @property
    def is_stopped(self) -> bool:
        """Whether something unsupported was found, so that nothing is translated any more."""
        return self._owner.is_stopped

    def are_few(self, attribute: str, calls: int) -> bool:
        """Whether so many calls of a body are few enough nodes to write them all out.

        A body that may itself be written out several times never is, or the graph would explode.
        """
        nodes = all_nodes(self._graphs[attribute].node)
        repeats = any(node.op_type in _REPEATS for node in nodes)
        return calls * max(1, len(nodes)) <= _WRITTEN_OUT and not repeats

    def num_outputs(self, attribute: str) -> int:
        """Return how many outputs a body has."""
        return len(self._graphs[attribute].output)

    def apart(self, attribute: str, templates: Sequence[Value]) -> Body:
        """Translate a body into a graph of its own.

        Args:
            attribute: Which body.
            templates: What its inputs are like: types, ranks, probes. Constants stay constants.
        """
        body = self._graphs[attribute]
        writer = BodyWriter(self._owner.writer)
        inputs = []
        for template, info in zip(templates, body.input, strict=True):
            writer.name_next(info.name)
            inputs.append(like(template, writer.argument(f"input_{writer.suggested}")))
        assert self._owner.inferred is not None  # now, so that copies share it
        inner = copy(self._owner)
        inner.writer = writer
        inner.values = BodyValues(self._owner.find, writer.capture)
        outputs = _translated(inner, body, inputs)
        self._owner.writer.binds_batch |= writer.binds_batch
        return Body(captured=writer.captured, inputs=tuple(inputs), outputs=outputs, writer=writer)

    def inline(self, attribute: str, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Translate a body into the graph around it, and return its outputs."""
        return _translated(self._owner, self._graphs[attribute], inputs)


def _translated(
    importer: Importer, body: onnx.GraphProto, inputs: Sequence[Value]
) -> tuple[Value, ...]:
    for info, value in zip(body.input, inputs, strict=True):
        importer.values[info.name] = value
    importer.translate(body.node)
    if importer.is_stopped:
        return ()
    return tuple(importer.lookup(info.name, "the outputs of a body") for info in body.output)


def number_of(value: int) -> Value:
    """Return an integer or a truth value that is known at import, as ONNX has them."""
    return constant_of(torch.tensor(value))
