"""A tensor times a bounded function of itself: SiLU, HardSwish, Mish."""

from typing import Any

import torch
from torch import fx
from torch.nn import functional

from optimizer.bridge.fusion.view import GraphView, dtype, is_call, is_inside


def fuse_gates(view: GraphView) -> int:
    """Replace ``x * sigmoid(x)``, ``x * hardsigmoid(x)`` and ``x * tanh(softplus(x))``; count."""
    found = _hard_sigmoids(view)
    for product in view.calls(torch.mul):
        if product.kwargs or len(product.args) != 2:
            continue
        for x, gate in (product.args, product.args[::-1]):
            function = _gate_of(gate, x) if is_inside(gate, product) else None
            if function is not None:
                view.replace(product, function, x)
                found += 1
                break
    return found


def _gate_of(gate: Any, x: Any) -> Any:
    """What ``x`` times ``gate`` is, if it has a name."""
    if is_call(gate, torch.sigmoid) and gate.args == (x,):
        return functional.silu
    if is_call(gate, functional.hardsigmoid) and gate.args == (x,):
        return functional.hardswish
    if is_call(gate, torch.tanh):
        inner = gate.args[0]
        is_mish = is_call(inner, functional.softplus) and inner.args == (x,)
        return functional.mish if is_mish and is_inside(inner, gate) else None
    return None


def _hard_sigmoids(view: GraphView) -> int:
    """``clamp(x + 3, 0, 6) / 6`` as its own function, also where ``x`` is multiplied in first."""
    found = 0
    for bounded in view.calls(torch.clamp):
        shifted = bounded.args[0]
        parts = view.with_number(shifted, torch.add)
        bounds = [view.number(bound) for bound in bounded.args[1:]]
        if parts is None or parts[1] != 3.0 or bounds != [0.0, 6.0] or bounded.kwargs:
            continue
        kind = dtype(parts[0])
        if kind is None or not kind.is_floating_point:
            continue
        if not is_inside(shifted, bounded) or len(bounded.users) != 1:
            continue
        x, reader = parts[0], next(iter(bounded.users))
        if _is_sixth_of(view, reader, bounded):
            view.replace(reader, functional.hardsigmoid, x)
            found += 1
        elif _is_product(reader, bounded, x):
            found += _hard_swish(view, reader, x)
    return found


def _hard_swish(view: GraphView, product: fx.Node, x: fx.Node) -> int:
    if len(product.users) != 1:
        return 0
    last = next(iter(product.users))
    if not _is_sixth_of(view, last, product):
        return 0
    view.replace(last, functional.hardswish, x)
    return 1


def _is_sixth_of(view: GraphView, node: Any, x: fx.Node) -> bool:
    for function, number in ((torch.div, 6.0), (torch.mul, 1 / 6)):
        parts = view.with_number(node, function)
        if parts is not None and parts[0] is x and view.is_number(parts[1], number):
            return True
    return False


def _is_product(node: Any, left: fx.Node, right: fx.Node) -> bool:
    return is_call(node, torch.mul) and set(node.args) == {left, right}
