"""Brings a model into the form that is imported: names that are unique, weights in one place.

Local functions are inlined. Bodies of If, Loop and Scan stay bodies, but their tensors have the
names of the flat view (``graph_analysis.bodies``), which the search space uses as well, and their
initializers and Constant nodes belong to the main graph, where every body can capture them: a
weight is one parameter of the imported module, wherever it is used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from graph_analysis.bodies import Bodies, flatten, graphs_of, has_bodies
from graph_analysis.folding import fold
from graph_analysis.loading import inlined, name_nodes


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model as the importer reads it.

    Attributes:
        model: The graph to run; without functions, bodies without initializers.
        flat: The same graph without bodies, for questions that do not depend on them.
    """

    model: onnx.ModelProto
    flat: onnx.GraphProto


def prepare(model: onnx.ModelProto) -> Prepared:
    """Inline functions and give all tensors names that are unique over the model.

    Names that are unique already stay as they are. Weights of bodies that the flat view leaves
    whole (Scan of opset 8, SequenceMap, very deep nesting) get theirs last.

    Raises:
        ModelError: A local function cannot be expanded.
    """
    if model.functions:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        model = inlined(copy)
    if not has_bodies(model.graph):
        return Prepared(model=model, flat=model.graph)
    named = onnx.ModelProto()
    named.CopyFrom(model)
    name_nodes(named.graph)
    flat, bodies = flatten(named)
    _Hoisting(flat.graph).run()
    constants = {node.name for node in flat.graph.node if node.op_type == "Constant"}
    scope_of = {name: at for name, at in bodies.scope_of.items() if name not in constants}
    nested = fold(flat, Bodies(scopes=bodies.scopes, scope_of=scope_of))
    return Prepared(model=nested, flat=_with_inner_nodes(flat.graph))


class _Hoisting:
    """Unique names and no initializers for the bodies that are still in a flat graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._taken = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
        self._taken |= {name for node in graph.node for name in (*node.input, *node.output)}

    def run(self) -> None:
        """Change the graph in place."""
        for node in self._graph.node:
            for _, body in graphs_of(node):
                self._body(body, {})

    def _body(self, body: onnx.GraphProto, outer: Mapping[str, str]) -> None:
        names = dict(outer)
        for value in (*body.input, *body.initializer):
            names[value.name] = self._free(value.name)
            value.name = names[value.name]
        for node in body.node:
            node.input[:] = [names.get(each, each) for each in node.input]
            for each in filter(None, node.output):
                names[each] = self._free(each)
            node.output[:] = [names.get(each, each) for each in node.output]
            for _, inner in graphs_of(node):
                self._body(inner, names)
        for value in (*body.output, *body.value_info):
            value.name = names.get(value.name, value.name)
        self._graph.initializer.extend(body.initializer)
        del body.initializer[:]

    def _free(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}__{number}", number + 1
        self._taken.add(name)
        return name


def _with_inner_nodes(graph: onnx.GraphProto) -> onnx.GraphProto:
    """``graph`` with the nodes of the bodies left in it, whose inputs count as inputs."""
    inner = [body for node in all_nodes(graph.node) for _, body in graphs_of(node)]
    if not inner:
        return graph
    result = onnx.GraphProto()
    result.CopyFrom(graph)
    result.input.extend(value for body in inner for value in body.input)
    del result.node[:]
    for node in graph.node:
        for each in all_nodes(inside for _, body in graphs_of(node) for inside in body.node):
            result.node.append(each)
        result.node.append(node)
    return result


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes and those of all bodies below them, inner ones before their owner."""
    found: list[onnx.NodeProto] = []
    for node in nodes:
        for _, body in graphs_of(node):
            found += all_nodes(body.node)
        found.append(node)
    return found
