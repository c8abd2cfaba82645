"""The Gaussian error linear unit as exporters write it out, exact and by tanh."""

import math
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from optimizer.bridge.fusion.view import GraphView, is_call, is_inside, sole_reader

_CUBIC = 0.044715
_ROOT = math.sqrt(2 / math.pi)


def fuse_gelu(view: GraphView) -> int:
    """Replace ``x / 2 * (1 + erf(x / sqrt 2))`` and its form by tanh; count."""
    found = 0
    for inner in view.calls(torch.erf, torch.tanh):
        is_exact = is_call(inner, torch.erf)
        x = _scaled(view, inner) if is_exact else _bent(view, inner)
        node = _completed(view, inner, x) if x is not None else None
        if node is not None:
            view.replace(node, functional.gelu, x, approximate="none" if is_exact else "tanh")
            found += 1
    return found


def _scaled(view: GraphView, inner: fx.Node) -> fx.Node | None:
    """``x`` of ``erf(x / sqrt 2)``."""
    argument = inner.args[0]
    if not is_inside(argument, inner):
        return None
    for function, number in ((torch.div, math.sqrt(2)), (torch.mul, math.sqrt(0.5))):
        parts = view.with_number(argument, function)
        if parts is not None and view.is_number(parts[1], number):
            return parts[0]
    return None


def _bent(view: GraphView, inner: fx.Node) -> fx.Node | None:
    """``x`` of ``tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))``."""
    argument = inner.args[0]
    parts = view.with_number(argument, torch.mul)
    if parts is None or not is_inside(argument, inner) or not view.is_number(parts[1], _ROOT):
        return None
    total = parts[0]
    if not is_call(total, torch.add) or total.kwargs or not is_inside(total, argument):
        return None
    left, right = total.args
    for x, bend in ((left, right), (right, left)):
        weighted = view.with_number(bend, torch.mul)
        if weighted is None or not view.is_number(weighted[1], _CUBIC):
            continue
        if is_inside(bend, total) and _is_cube(view, weighted[0], x, bend):
            return x if isinstance(x, fx.Node) else None
    return None


def _is_cube(view: GraphView, node: fx.Node, x: Any, reader: Any) -> bool:
    """Whether ``node`` is ``x ** 3``, or ``x * x * x``, and only read here."""
    if not is_inside(node, reader):
        return False
    raised = view.with_number(node, torch.pow)
    if raised is not None:
        return raised[0] is x and raised[1] == 3.0
    if not is_call(node, torch.mul) or node.kwargs:
        return False
    for single, square in (node.args, node.args[::-1]):
        if single is x and is_call(square, torch.mul) and is_inside(square, node):
            return set(square.args) == {x}
    return False


def _completed(view: GraphView, inner: fx.Node, x: fx.Node) -> fx.Node | None:
    """The product of ``1 + inner``, ``x`` and a half, taken in any order."""
    node = sole_reader(inner)
    shifted = view.with_number(node, torch.add)
    if node is None or shifted is None or shifted[1] != 1.0:
        return None
    has_half = has_x = False
    while not (has_half and has_x):
        reader = sole_reader(node)
        if not is_call(reader, torch.mul, torch.div) or reader.kwargs:
            return None
        halved = _is_half_of(view, reader, node)
        half, whole = _parts(view, reader, node, x)
        if ((halved or half) and has_half) or (whole and has_x) or not (halved or half or whole):
            return None
        has_half, has_x = has_half or halved or half, has_x or whole
        node = reader
    return node


def _parts(view: GraphView, reader: fx.Node, node: fx.Node, x: fx.Node) -> tuple[bool, bool]:
    """Whether the other factor contains a half, and whether it contains ``x``."""
    if not is_call(reader, torch.mul):
        return False, False
    left, right = reader.args
    other = right if left is node else left
    if other is x:
        return False, True
    is_halved = is_inside(other, reader) and _is_half_of(view, other, x)
    return is_halved, is_halved


def _is_half_of(view: GraphView, node: Any, x: fx.Node) -> bool:
    """Whether ``node`` is ``x * 0.5`` or ``x / 2``."""
    for function, number in ((torch.mul, 0.5), (torch.div, 2.0)):
        if view.with_number(node, function) == (x, number):
            return True
    return False
