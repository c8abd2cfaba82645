"""Chains of transpositions and reshapes, and those that change nothing."""

from typing import Any

import torch
from torch import fx

from optimizer.bridge.fusion.view import GraphView, is_call, shapes
from optimizer.bridge.ops.movement import reshape_to


def fuse_movement(view: GraphView) -> int:
    """Join neighbours and drop what does nothing; count.

    Two transpositions are one, the last of several reshapes decides, and nothing is left of either
    if sizes and order are what they were.
    """
    found = 0
    for node in view.calls(torch.permute, torch.reshape):
        if is_call(node, torch.permute):
            found += _joined_permutations(view, node)
        else:
            found += _joined_reshapes(view, node)
    return found


def _joined_permutations(view: GraphView, node: fx.Node) -> int:
    source, order = node.args
    axes = _axes(order)
    if axes is None or not isinstance(source, fx.Node):
        return 0
    if is_call(source, torch.permute):
        inner = _axes(source.args[1])
        if inner is None or len(inner) != len(axes):
            return 0
        axes = tuple(inner[axis] for axis in axes)
        if axes != tuple(range(len(axes))):
            view.replace(node, torch.permute, source.args[0], axes)
            return 1
        source = source.args[0]
    if axes != tuple(range(len(axes))) or not isinstance(source, fx.Node):
        return 0
    return _dropped(view, node, source)


def _joined_reshapes(view: GraphView, node: fx.Node) -> int:
    source, target = node.args
    if not isinstance(source, fx.Node) or not isinstance(target, tuple):
        return 0
    if shapes(source) is not None and shapes(source) == shapes(node) and _one_free(node) <= 1:
        return _dropped(view, node, source)
    is_settled = all(isinstance(size, int) for size in target) and 0 not in target
    if is_settled and is_call(source, torch.reshape, reshape_to):
        view.replace(node, torch.reshape, source.args[0], target)
        return 1
    return 0


def _one_free(node: fx.Node) -> int:
    """How many axes depend on the free ones: of one, equal sizes follow from equal elements."""
    first, second = shapes(node) or ((), ())
    return sum(left != right for left, right in zip(first, second, strict=True))


def _dropped(view: GraphView, node: fx.Node, source: fx.Node) -> int:
    if source.op != "call_function" and any(reader.op == "output" for reader in node.users):
        return 0  # the caller would get its own tensor back
    view.bypass(node, source)
    return 1


def _axes(order: Any) -> tuple[int, ...] | None:
    if not isinstance(order, tuple) or not all(isinstance(axis, int) for axis in order):
        return None
    return tuple(axis % len(order) for axis in order)
