"""Activation memory: what the operators of a model write, and how much of it is alive at once.

One run under the analysis binding, which is one sample where the batch axis is free. Counted from
shapes and element types alone; a runtime that computes in place or fuses operators needs less.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from graph_analysis.effects import Survivors
from graph_analysis.trace_graph import TraceGraph

_SHAPE_ONLY = frozenset({"Shape", "Size"})  # read the length of their input, not its values


@dataclass(frozen=True, kw_only=True)
class ActivationBytes:
    """Bytes of the tensors that depend on the values of a model input.

    Attributes:
        total: Of all outputs of all operators together.
        peak: The most that is alive at once when the operators run in the model's order: a tensor
            lives from the operator that writes it to the last one that reads it, an input of the
            model from the start, an output to the end.
        by_vertex: What each operator writes, by its index in the graph.
        unknown: Tensors whose shape is not known and that count as nothing.
    """

    total: int
    peak: int
    by_vertex: Mapping[int, int]
    unknown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One operator that remains: what it reads and writes, joints spliced."""

    index: int | None  # None: a copy for an output whose joint was spliced out
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def activation_bytes(
    graph: TraceGraph, shapes: Mapping[str, tuple[int, ...]], remaining: Survivors
) -> ActivationBytes:
    """Activation memory of what remains of a graph.

    Args:
        graph: The graph before any removal.
        shapes: Shape of every remaining tensor, where it is known (``Effects.shapes``).
        remaining: Which vertices go, and what takes the place of spliced joints.
    """
    steps = list(_steps(graph, remaining))
    sizes, unknown = _sizes(graph, shapes, steps)
    return ActivationBytes(
        total=sum(sizes.get(name, 0) for step in steps for name in step.writes),
        peak=_peak(graph, sizes, steps, remaining),
        by_vertex={
            step.index: sum(sizes.get(name, 0) for name in step.writes)
            for step in steps
            if step.index is not None
        },
        unknown=unknown,
    )


def _steps(graph: TraceGraph, remaining: Survivors) -> Iterator[_Step]:
    dropped = {name for i in remaining.removed for name in graph.vertices[i].outputs}
    for vertex in graph.vertices:
        if vertex.index not in remaining.removed:
            resolved = (remaining.resolve(name) for name in vertex.inputs if name)
            yield _Step(
                index=vertex.index,
                reads=tuple(name for name in resolved if name not in dropped),
                writes=tuple(name for name in vertex.outputs if name),
            )
    for name, target in _copied(graph, remaining):
        yield _Step(index=None, reads=(target,), writes=(name,))


def _copied(graph: TraceGraph, remaining: Survivors) -> Iterator[tuple[str, str]]:
    """Outputs whose joint is spliced out and whose replacement cannot take their name."""
    fixed = {*graph.inputs, *graph.outputs}
    for name in remaining.splices:
        if name in graph.outputs:
            target = remaining.resolve(name)
            if target in fixed or target not in graph.producer:
                yield name, target
            fixed.add(target)


def _sizes(
    graph: TraceGraph, shapes: Mapping[str, tuple[int, ...]], steps: list[_Step]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Bytes of every tensor that depends on the values of an input; names of unknown shape."""
    found: dict[str, int] = {}
    unknown: list[str] = []

    def add(name: str) -> None:
        shape, kind = shapes.get(name), graph.shapes.dtype.get(name)
        found[name] = 0
        if shape is None or not kind:  # 0: a damaged file says no type
            unknown.append(name)
            return
        found[name] = onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
        for length in shape:
            found[name] *= length

    for name in graph.inputs:
        add(name)
    for step in steps:
        is_shape = step.index is not None and graph.vertices[step.index].op_type in _SHAPE_ONLY
        if not is_shape and any(name in found for name in step.reads):
            for name in step.writes:
                add(name)
    return found, tuple(unknown)


def _peak(
    graph: TraceGraph, sizes: Mapping[str, int], steps: list[_Step], remaining: Survivors
) -> int:
    written = {name for step in steps for name in step.writes}
    kept = {name if name in written else remaining.resolve(name) for name in graph.outputs}
    last: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for place, step in enumerate(steps):
        last.update(dict.fromkeys((*step.reads, *step.writes), place))
    last.update(dict.fromkeys(kept, len(steps)))
    ending: dict[int, list[str]] = defaultdict(list)
    for name, place in last.items():
        ending[place].append(name)
    alive = peak = sum(sizes.get(name, 0) for name in graph.inputs)
    for place, step in enumerate(steps):
        alive += sum(sizes.get(name, 0) for name in step.writes)
        peak = max(peak, alive)
        alive -= sum(sizes.get(name, 0) for name in ending[place])
    return peak
