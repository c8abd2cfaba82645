"""What a user protects by name: nodes, tensors and weights that a removal may not touch."""

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from graph_analysis.errors import InputError
from graph_analysis.labels import Labelling
from graph_analysis.trace_graph import TraceGraph, Vertex


def protect(labelling: Labelling, patterns: Collection[str]) -> frozenset[int]:
    """Freeze what matches a pattern (``*``, ``?``).

    1. A tensor or weight that matches keeps its shape; so do the outputs and weights of a node
       that does.
    2. Vertices that match, read a weight that does or write a tensor that does stay in the graph.

    An initial state of zeros is the same as none and may be left out all the same.

    Returns:
        Indices of the vertices that stay.

    Raises:
        InputError: Nothing in the model matches a pattern.
    """
    graph = labelling.graph
    staying: set[int] = set()
    for pattern in patterns:
        names = {name for name in _names(graph) if fnmatchcase(name, pattern)}
        nodes = [vertex for vertex in graph.vertices if fnmatchcase(vertex.name, pattern)]
        if not names and not nodes:
            message = (
                f"protect pattern {pattern!r} matches no node, tensor or weight of the model; "
                "secateur analyze --json lists all nodes"
            )
            raise InputError(message, param="protect")
        staying.update(vertex.index for vertex in nodes)
        staying.update(v.index for v in graph.vertices if names & {*_weights(graph, v), *v.outputs})
        for vertex in nodes:
            names.update(_weights(graph, vertex))
            names.update(name for name in vertex.outputs if name)
        for name in sorted(names):
            if name in labelling.axes or name not in graph.initializers:
                labelling.freeze_all(name, f"protected by {pattern!r}")
    return frozenset(staying)


def _names(graph: TraceGraph) -> Iterator[str]:
    """Tensors and weights."""
    yield from graph.inputs
    yield from graph.producer
    yield from graph.initializers


def _weights(graph: TraceGraph, vertex: Vertex) -> list[str]:
    return [name for name in vertex.inputs if name in graph.initializers]
