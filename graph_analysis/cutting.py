"""Edges cut one after the other, and whether the network is valid without the next ones.

The same answers as ``effects.survivors`` on all edges together, at the cost of what changes: cuts
only ever take away, so what is unused, and what no input reaches, only grows. Trying edges is
cutting them and taking it back.
"""

from collections.abc import Callable, Collection, Iterable
from functools import partial

from graph_analysis.trace_graph import Edge, TraceGraph


class Cutting:
    """A graph with a growing set of cut edges.

    1. A vertex dies when nothing that lives reads its outputs; a joint left with one input passes
       that on, so what it reads lives as long as its own output does.
    2. A living joint left with no input is starved.
    3. A tensor is fed while a fed tensor still reaches the vertex that makes it.

    Args:
        graph: Not changed.
        protected: Vertices that may neither die nor be spliced out.
    """

    def __init__(self, graph: TraceGraph, protected: Collection[int]) -> None:
        self._graph = graph
        self._protected = frozenset(protected)
        self._lost: dict[int, set[str]] = {}
        self._uses: dict[str, int] = {}  # of tensors that lost some
        self._unfed: set[str] = set()  # of those that an input reached once
        self._removed: set[int] = set()
        self._starved: set[int] = set()  # living or dead
        self._spliced: set[int] = set()
        self._undo: list[Callable[[], object]] = []
        self._wanted = frozenset(name for name in graph.outputs if name in graph.fed)

    def cut(self, edges: Iterable[Edge]) -> None:
        """Cut edges, valid or not."""
        self._undo.clear()
        for joint, tensor in sorted(edges):
            self._cut(joint, tensor)

    def may(self, edges: Collection[Edge]) -> bool:
        """Whether an edge is alive and the network valid without all of them; cuts none."""
        if not any(self._is_alive(joint, tensor) for joint, tensor in edges):
            return False
        self.cut(edges)
        is_valid = self._is_valid()
        while self._undo:
            self._undo.pop()()
        return is_valid

    def _is_alive(self, joint: int, tensor: str) -> bool:
        return joint not in self._removed and tensor not in self._lost.get(joint, ())

    def _is_valid(self) -> bool:
        reached = self._graph.reached
        if any(joint in reached and joint not in self._removed for joint in self._starved):
            return False
        if not self._unfed.isdisjoint(self._wanted):
            return False
        spliced = self._spliced & self._protected
        return self._removed.isdisjoint(self._protected) and spliced.isdisjoint(reached)

    def _cut(self, joint: int, tensor: str) -> None:
        lost = self._lost.setdefault(joint, set())
        if tensor in lost:
            return
        lost.add(tensor)
        self._undo.append(partial(lost.discard, tensor))
        vertex = self._graph.vertices[joint]
        left = [name for name in vertex.inputs if name and name not in lost]
        self._put(self._spliced, joint, is_in=len(left) == 1)
        self._put(self._starved, joint, is_in=not left)
        if joint in self._graph.reached and joint not in self._removed:
            self._unread([tensor] * vertex.inputs.count(tensor))
        self._starve_forward(joint)

    def _put(self, where: set[int], joint: int, *, is_in: bool) -> None:
        if is_in and joint not in where:
            where.add(joint)
            self._undo.append(partial(where.discard, joint))
        elif not is_in and joint in where:
            where.discard(joint)
            self._undo.append(partial(where.add, joint))

    def _unread(self, names: list[str]) -> None:
        """One use less of each; what has none left dies, with what only it used."""
        graph = self._graph
        while names:
            name = names.pop()
            before = self._uses.get(name, graph.uses.get(name, 0))
            self._uses[name] = before - 1
            self._undo.append(partial(self._uses.__setitem__, name, before))
            index = graph.producer.get(name, -1)
            if before > 1 or index < 0 or index in self._removed or index not in graph.reached:
                continue
            vertex = graph.vertices[index]
            if any(self._uses.get(n, graph.uses.get(n, 0)) for n in vertex.outputs if n):
                continue
            self._removed.add(index)
            self._undo.append(partial(self._removed.discard, index))
            lost = self._lost.get(index, ())
            names += [n for n in vertex.inputs if n and n not in lost]

    def _starve_forward(self, start: int) -> None:
        """What no input reaches any more, from a vertex that lost one of its inputs."""
        graph, stack = self._graph, [start]
        while stack:
            index = stack.pop()
            vertex = graph.vertices[index]
            lost = self._lost.get(index, ())
            if any(n in graph.fed and n not in self._unfed for n in vertex.inputs if n not in lost):
                continue
            for name in vertex.outputs:
                if name and name in graph.fed and name not in self._unfed:
                    self._unfed.add(name)
                    self._undo.append(partial(self._unfed.discard, name))
                    stack += [reader for reader, _ in graph.consumers.get(name, ())]
