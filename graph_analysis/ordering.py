"""Nodes in the order of execution: the standard asks for it, runtimes forgive its absence."""

from collections import defaultdict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import onnx

from graph_analysis.soundness import bodies_of


def sort_nodes(graph: onnx.GraphProto) -> bool:
    """Put the nodes of ``graph`` in order, and those of all bodies; equal ones as in the file.

    A graph with a cycle, or a tensor that two nodes make, stays as it is.

    Returns:
        Whether anything was moved.
    """
    moved = False
    for node in graph.node:
        for body in bodies_of(node):
            moved |= sort_nodes(body)
    order = _order(graph)
    if order is None or order == sorted(order):
        return moved
    nodes = [onnx.NodeProto() for _ in order]
    for copy, place in zip(nodes, order, strict=True):
        copy.CopyFrom(graph.node[place])
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _order(graph: onnx.GraphProto) -> list[int] | None:
    maker: dict[str, int] = {}
    for place, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker:
                return None
            maker[name] = place
    waiting = [0] * len(graph.node)
    after: dict[int, list[int]] = defaultdict(list)
    for place, node in enumerate(graph.node):
        for source in {maker[name] for name in _reads(node) if name in maker}:
            waiting[place] += 1
            after[source].append(place)
    ready = [place for place, count in enumerate(waiting) if not count]
    heapify(ready)
    order = []
    while ready:
        place = heappop(ready)
        order.append(place)
        for later in after[place]:
            waiting[later] -= 1
            if not waiting[later]:
                heappush(ready, later)
    return order if len(order) == len(graph.node) else None


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, and what its bodies may capture."""
    yield from filter(None, node.input)
    for body in bodies_of(node):
        yield from (value.name for value in body.output)
        for inner in body.node:
            yield from _reads(inner)
