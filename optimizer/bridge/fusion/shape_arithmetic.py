"""Shape arithmetic that is done once in a step, however often a file asks for it."""

from typing import Any

import torch
from torch import fx

from optimizer.bridge import host
from optimizer.bridge.fusion.view import GraphView, probes


def merge_shape_arithmetic(view: GraphView) -> int:
    """Have equal calls on host values, the sizes of one tensor above all, made once; count.

    Exporters ask for the shape anew at each Reshape. What is merged returns Python numbers, so
    nothing that is trained is touched.
    """
    found = 0
    known: dict[Any, fx.Node] = {}
    for node in list(view.graph.nodes):
        if node.op != "call_function" or node.kwargs or not _is_host(node):
            continue
        key = (node.target, _typed(node.args))
        first = known.setdefault(key, node)
        if first is not node:
            view.bypass(node, first)
            found += 1
    return found


def _is_host(node: fx.Node) -> bool:
    """Whether it returns numbers: known from the probes, or because it asks for a shape."""
    made = probes(node)[0]
    is_number = isinstance(made, int | float)
    is_tuple = isinstance(made, tuple) and all(isinstance(item, int | float) for item in made)
    return node.target is host.shape_of or is_number or is_tuple


def _typed(argument: Any) -> Any:
    """Arguments as a key: 1, 1.0 and True, and 0.0 and -0.0, are equal in Python, but not here."""
    if isinstance(argument, tuple | list):
        return tuple(_typed(item) for item in argument)
    if isinstance(argument, slice):
        return ("slice", *(_typed(part) for part in (argument.start, argument.stop, argument.step)))
    if isinstance(argument, fx.Node | torch.dtype | str) or argument is None:
        return argument
    return (type(argument), repr(argument))
