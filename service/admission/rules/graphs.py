"""Rules about structure: unique names, nodes in order, every output produced and named.

1. A graph's inputs, initializers and node outputs have distinct names; an initializer may give an
   input its default value.
2. A body sees the names that exist outside when its node runs, and may not define them again.
3. A node uses only what was defined before it.
4. A node's outputs are named, but for optional ones of a few operators.
5. A graph's outputs are produced in it; a body may also hand through what it sees outside.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import onnx

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, bodies_of, described

_MAY_LEAVE_OUT_LATER = frozenset(
    {"Dropout", "BatchNormalization", "MaxPool", "LayerNormalization", "SkipLayerNormalization"}
)
_MAY_LEAVE_OUT_ANY = frozenset({"LSTM", "GRU", "RNN"})  # Y or Y_h alone is the usual export


@dataclass
class _Scope:
    """Names that exist so far, with those of the graphs around."""

    outer: "_Scope | None" = None
    defined: set[str] = field(default_factory=set)

    def sees(self, name: str) -> bool:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.defined:
                return True
            scope = scope.outer
        return False

    def define(self, name: str) -> None:
        """Cases 1 and 2."""
        if self.sees(name):
            message = f"the name {shown(name)} is defined twice; export the model again"
            refuse("model-duplicate-name", message, param=name)
        self.defined.add(name)


def check_structure(context: Context) -> None:
    """Check the main graph, every function, and the bodies inside of them.

    Raises:
        AdmissionError: ``model-duplicate-name``, ``model-not-sorted``, ``model-missing-output`` or
            ``model-output-missing``.
    """
    _check_graph(context.model.graph, None)
    for function in context.model.functions:
        scope = _Scope()
        for name in function.input:
            scope.define(name)
        _check_nodes(function.node, scope)
        where = f"function {shown(function.name)}"
        _check_outputs(function.output, scope, where)


def _check_graph(graph: onnx.GraphProto, outer: _Scope | None) -> None:
    scope = _Scope(outer)
    for value in graph.input:
        scope.define(value.name)
    inputs = set(scope.defined)
    stored: set[str] = set()
    for tensor in graph.initializer:
        if tensor.name in inputs and tensor.name not in stored:
            stored.add(tensor.name)
            continue
        scope.define(tensor.name)
    _check_nodes(graph.node, scope)
    names = [value.name for value in graph.output]
    _check_outputs(names, scope, "the model" if outer is None else f"body {shown(graph.name)}")


def _check_nodes(nodes: Sequence[onnx.NodeProto], scope: _Scope) -> None:
    produced = {name for node in nodes for name in node.output}
    for node in nodes:
        for name in node.input:
            if name and not scope.sees(name):
                _refuse_unsorted(node, name, is_produced=name in produced)
        for body in bodies_of(node):
            _check_graph(body, scope)
        _check_output_names(node)
        for name in filter(None, node.output):
            scope.define(name)


def _refuse_unsorted(node: onnx.NodeProto, name: str, *, is_produced: bool) -> NoReturn:
    fault = "before it is computed (a cycle, or nodes out of order)"
    if not is_produced:
        fault = "which nothing produces"
    message = f"{described(node)} uses {shown(name)} {fault}"
    refuse("model-not-sorted", message, param=node.name or name)


def _check_output_names(node: onnx.NodeProto) -> None:
    """Case 4."""
    if all(node.output) and node.output:
        return
    may_leave_out = any(node.output) and (
        node.op_type in _MAY_LEAVE_OUT_ANY
        or (node.op_type in _MAY_LEAVE_OUT_LATER and bool(node.output[0]))
    )
    if not may_leave_out:
        message = f"{described(node)} has an output without a name; export the model again"
        refuse("model-missing-output", message, param=node.name or node.op_type)


def _check_outputs(names: Iterable[str], scope: _Scope, where: str) -> None:
    """Case 5."""
    listed: set[str] = set()
    for name in names:
        if name in listed:
            message = f"{where} lists the output {shown(name)} twice; export the model again"
            refuse("model-duplicate-name", message, param=name)
        listed.add(name)
        if not scope.sees(name):
            message = f"{where} lists the output {shown(name)}, which no node computes"
            refuse("model-output-missing", message, param=name)
