"""What a user protects by name: nodes, tensors and weights that a removal may not touch."""

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from graph_analysis.errors import InputError
from graph_analysis.labels import Labelling
from graph_analysis.trace_graph import TraceGraph, Vertex


def protect(labelling: Labelling, patterns: Collection[str]) -> frozenset[int]:
    """Freeze what matches a pattern (``*``, ``?``).

    1. A tensor that matches keeps its shape, and so do the outputs of a node that matches.
    2. Vertices that match, read a weight that does or write a tensor that does stay in the graph.
       Which groups of channels hold a weight that matches, ``node_groups`` sees for itself.

    Returns:
        Indices of the vertices that stay.

    Raises:
        InputError: Nothing in the model matches a pattern.
    """
    graph = labelling.graph
    staying: set[int] = set()
    for pattern in patterns:
        found = False
        for name in _tensors(graph):
            if fnmatchcase(name, pattern):
                found = True
                labelling.freeze_all(name, f"protected by {pattern!r}")
        for vertex in graph.vertices:
            if fnmatchcase(vertex.name, pattern):
                found = True
                for name in filter(None, vertex.outputs):
                    labelling.freeze_all(name, f"protected by {pattern!r}")
            elif not _touches(graph, vertex, pattern):
                continue
            staying.add(vertex.index)
        if not found and not any(fnmatchcase(name, pattern) for name in graph.initializers):
            message = f"no node, tensor or weight is called {pattern!r}; check --protect"
            raise InputError(message, param="protect")
    return frozenset(staying)


def _tensors(graph: TraceGraph) -> Iterator[str]:
    yield from graph.inputs
    yield from graph.producer


def _touches(graph: TraceGraph, vertex: Vertex, pattern: str) -> bool:
    weights = (name for name in vertex.inputs if name in graph.initializers)
    return any(fnmatchcase(name, pattern) for name in (*weights, *vertex.outputs) if name)
