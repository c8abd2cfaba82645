"""How many nodes a model really has: functions expanded, bodies included, before anything expands.

Two functions that call each other twice, forty levels deep, fit into two kilobytes and expand to
2**40 nodes. So sizes are computed by a dynamic program over the call graph, callees first,
iteratively, and saturate just above the limit.
"""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import onnx

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, FunctionId, bodies_of, called_function

_Calls = tuple[int, list[FunctionId]]  # plain nodes, and one entry per call of a function


def check_budget(context: Context) -> int:
    """The number of nodes after expansion.

    Raises:
        AdmissionError: ``model-functions`` (recursive, too deep or too many nodes),
            ``model-subgraph`` or ``model-too-complex``.
    """
    calls = {
        name: _count(function.node, context.functions)
        for name, function in context.functions.items()
    }
    order = _callees_first(calls)
    _check_depth(order, calls, context.limits.call_depth)
    ceiling = context.limits.nodes + 1
    sizes: dict[FunctionId, int] = {}
    for name in order:
        plain, callees = calls[name]
        sizes[name] = min(ceiling, plain + sum(sizes[callee] for callee in callees))
    plain, callees = _count(context.model.graph.node, context.functions)
    total = min(ceiling, plain + sum(sizes[callee] for callee in callees))
    if total > context.limits.nodes:
        _refuse_size(context, plain)
    return total


def _count(
    nodes: Sequence[onnx.NodeProto], functions: Mapping[FunctionId, onnx.FunctionProto]
) -> _Calls:
    """Nodes and calls of one scope, bodies included; their depth is bounded by the wire scan."""
    plain = 0
    callees: list[FunctionId] = []
    waiting = [nodes]
    while waiting:
        for node in waiting.pop():
            name = called_function(node)
            if name in functions:
                callees.append(name)
            else:
                plain += 1
            waiting += [body.node for body in bodies_of(node)]
    return plain, callees


def _callees_first(calls: Mapping[FunctionId, _Calls]) -> list[FunctionId]:
    """Depth-first order of the call graph; refuses recursion."""
    order: list[FunctionId] = []
    done: set[FunctionId] = set()
    for start in calls:
        active: dict[FunctionId, None] = {}
        stack = [(start, False)]
        while stack:
            name, is_left = stack.pop()
            if is_left:
                del active[name]
                done.add(name)
                order.append(name)
            elif name in active:
                message = f"function {shown(name[1])} calls itself; ONNX allows no recursion"
                refuse("model-functions", message, param=name[1])
            elif name not in done:
                active[name] = None
                stack.append((name, True))
                stack += [(callee, False) for callee in dict.fromkeys(calls[name][1])]
    return order


def _check_depth(
    order: Sequence[FunctionId], calls: Mapping[FunctionId, _Calls], limit: int
) -> None:
    depth: dict[FunctionId, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[callee] for callee in calls[name][1]), default=0)
        if depth[name] > limit:
            message = f"function {shown(name[1])} calls others more than {limit} levels deep"
            refuse("model-functions", message, param=name[1], limit=limit, actual=depth[name])


def _refuse_size(context: Context, plain: int) -> NoReturn:
    """Blame what makes the model large: its own nodes, its bodies, or its functions."""
    limit = context.limits.nodes
    own = len(context.model.graph.node)
    if own > limit:
        message = f"the model has {own} nodes, more than the limit of {limit}; simplify it"
        refuse("model-too-complex", message, limit=limit, actual=own)
    if plain > limit:
        message = f"the bodies of If, Loop and Scan bring the model to more than {limit} nodes"
        refuse("model-subgraph", message, limit=limit, actual=plain)
    message = f"the local functions expand to more than {limit} nodes; inline fewer of them"
    refuse("model-functions", message, limit=limit)
