"""Runs the rule of every vertex in order; an operator without a rule is a boundary."""

from collections.abc import Callable, Mapping

import onnx

from graph_analysis.bodies import CONTROL
from graph_analysis.labels import Axes, Labelling
from graph_analysis.rules import (
    along,
    attention,
    contraction,
    control,
    einsum,
    elementwise,
    fused,
    integer,
    lengths,
    movement,
    normalisation,
    quantised,
    recurrent,
    spatial,
)
from graph_analysis.rules.batching import may_carry
from graph_analysis.rules.fitting import misfit
from graph_analysis.settings import parts_of_settings
from graph_analysis.trace_graph import Edge, TraceGraph, Vertex

Rule = Callable[[Labelling, Vertex], list[Axes]]
_RULES: dict[str, Rule] = {
    **along.RULES,
    **attention.RULES,
    **contraction.RULES,
    **einsum.RULES,
    **elementwise.RULES,
    **integer.RULES,
    **lengths.RULES,
    **movement.RULES,
    **normalisation.RULES,
    **quantised.RULES,
    **recurrent.RULES,
    **spatial.RULES,
}
_FUSED: Mapping[str, Rule] = {**fused.RULES, **integer.MICROSOFT}


def apply_rules(graph: TraceGraph, *, gated: frozenset[Edge] = frozenset()) -> Labelling:
    """Label every tensor of the graph; ``gated`` edges into Concats as in ``Labelling``.

    1. A vertex that sees no activation and no weight with labels (shape arithmetic) has no labels.
    2. Outputs of unknown shape, and every input of an operator without a rule, are fixed.
    3. Tensors that a body captures which is not laid out are fixed, and so are graph outputs.
    4. Around a Loop or Scan with a state that changes its shape everything is fixed.
    5. Settings are read by position: they are fixed, and so is what they are made from.
    """
    labelling = Labelling(graph=graph, gated=gated)
    for vertex in graph.vertices:
        _apply(labelling, vertex)
    for name in sorted(parts_of_settings(graph.operations, graph.inputs)):
        labelling.freeze_all(name, "an operator reads it as a setting")
    for name in graph.outputs:
        labelling.freeze_all(name, f"graph output {name!r} keeps its shape")
    return labelling


def _apply(labelling: Labelling, vertex: Vertex) -> None:
    graph = labelling.graph
    rule = rule_of(vertex)
    known = all(graph.shape(name) is not None for name in (*vertex.inputs, *vertex.outputs) if name)
    unstable = control.why_not(graph, vertex)
    if rule is None or not known or unstable:
        why = unstable or _why(graph, vertex, rule)
        _boundary(labelling, vertex, f"meets {vertex.name!r}: {why}")
        return
    found = None if misfit(graph, vertex) else _labels_by(rule, labelling, vertex)
    if found is None or not _are_labels_of(graph, vertex, found):
        _boundary(labelling, vertex, f"meets {vertex.name!r}: its inputs do not fit together")
        return
    for name, axes in zip(vertex.outputs, found, strict=False):
        shape, free = graph.shape(name), graph.free.get(name, frozenset())
        if not name or shape is None:
            continue
        fixed = set()
        for axis, labels in enumerate(axes):
            if axis not in free:
                if shape[axis] <= 1:
                    labelling.freeze(labels, f"it is all that {vertex.name!r} leaves of an axis")
                continue
            if (name, axis) in labelling.tiled:
                continue
            if may_carry(labelling, vertex, labels):
                labelling.tiled.add((name, axis))
                continue
            fixed.add(axis)
            labelling.freeze(labels, f"axis {axis} of {name!r} has a free length")
        labelling.axes[name] = [
            None if axis in fixed or length <= 1 else labels
            for axis, (length, labels) in enumerate(zip(shape, axes, strict=True))
        ]


def _labels_by(rule: Rule, labelling: Labelling, vertex: Vertex) -> list[Axes] | None:
    """What a rule finds; None where it meets attributes or shapes that no operator has.

    ``misfit`` knows the usual ones. What is left comes from damaged files: the operator is a
    boundary then, which takes back whatever the rule let go before.
    """
    try:
        return rule(labelling, vertex)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _are_labels_of(graph: TraceGraph, vertex: Vertex, found: list[Axes]) -> bool:
    """Whether a rule's labels have the shapes of the outputs: not where inputs contradict them."""
    for name, axes in zip(vertex.outputs, found, strict=False):
        shape = graph.shape(name) if name else None
        if shape is None:
            continue
        lengths = [None if labels is None else labels.size for labels in axes]
        if len(lengths) != len(shape) or any(
            length not in (None, expected) for length, expected in zip(lengths, shape, strict=True)
        ):
            return False
    return True


def rule_of(vertex: Vertex) -> Rule | None:
    """The rule of an operator, if there is one for its domain."""
    if vertex.is_standard:
        return _RULES.get(vertex.op_type)
    if vertex.domain == CONTROL:
        return control.RULES.get(vertex.op_type)
    return _FUSED.get(vertex.op_type) if vertex.domain == "com.microsoft" else None


def _why(graph: TraceGraph, vertex: Vertex, rule: Rule | None) -> str:
    if vertex.name in graph.left_whole:
        return graph.left_whole[vertex.name]
    if rule is None:
        return f"no rule for operator {vertex.op_type!r}"
    return control.why_unknown(graph, vertex)


def _boundary(labelling: Labelling, vertex: Vertex, reason: str) -> None:
    for name in vertex.inputs:
        if name:
            labelling.freeze_all(name, reason)
    for value in vertex.attributes.values():
        if isinstance(value, onnx.GraphProto):
            for name in captured(value):
                why = labelling.graph.left_whole.get(vertex.name)
                what = f"captured by the body of {vertex.name!r}"
                labelling.freeze_all(name, f"{what}: {why}" if why else what)


def captured(body: onnx.GraphProto) -> set[str]:
    """Names that a body (or a body inside it) reads; those of its own are harmless extras."""
    names = {value.name for value in body.output}
    for node in body.node:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= captured(attribute.g)
    return names
