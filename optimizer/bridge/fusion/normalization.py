"""Layer and RMS normalisation as exporters write them out."""

from typing import Any

import torch
from torch import fx
from torch.nn import functional

from optimizer.bridge.fusion.view import (
    GraphView,
    dtype,
    fixed_size,
    is_call,
    is_inside,
    rank,
    sole_reader,
)
from optimizer.bridge.ops.reduction import mean


def fuse_layer_norm(view: GraphView) -> int:
    """Replace ``(x - mean) / sqrt(mean((x - mean) ** 2) + epsilon) * scale + bias``; count.

    Over the last axis, with the scale alone or neither as well.
    """
    found = 0
    for centred in view.calls(torch.sub):
        x, middle = centred.args[:2]
        if centred.kwargs or not _is_mean_of(middle, x) or not is_inside(middle, centred):
            continue
        normalised = _divided_by_root(view, centred)
        if normalised is not None:
            node, epsilon = normalised
            size = fixed_size(x, -1)
            node, scale = _applied(view, node, torch.mul, size)
            node, bias = (
                _applied(view, node, torch.add, size) if scale is not None else (node, None)
            )
            view.replace(node, functional.layer_norm, x, (size,), scale, bias, epsilon)
            found += 1
    return found


def fuse_rms_norm(view: GraphView) -> int:
    """Replace ``x / sqrt(mean(x ** 2) + epsilon) * scale`` over the last axis; count."""
    found = 0
    for average in view.calls(mean):
        square = average.args[0]
        x = _root_of_square(view, square)
        if x is None or not is_inside(square, average):
            continue
        normalised = _divided_by_root(view, x, average)
        if normalised is None:
            continue
        node, epsilon = normalised
        size = fixed_size(x, -1)
        node, scale = _applied(view, node, torch.mul, size)
        if scale is not None:
            view.replace(node, functional.rms_norm, x, (size,), scale, epsilon)
            found += 1
    return found


def _divided_by_root(
    view: GraphView, x: fx.Node, average: fx.Node | None = None
) -> tuple[fx.Node, float] | None:
    """The quotient of ``x`` and the root of its mean square, and epsilon.

    Args:
        view: The graph.
        x: The dividend; with no ``average`` given all its readers must be in the pattern.
        average: The mean square, if it is known already.
    """
    is_alone = average is None
    if average is None:
        average = _mean_square(view, x)
    if average is None or not _is_mean_of(average, average.args[0]):
        return None
    total = sole_reader(average)
    shifted = view.with_number(total, torch.add)
    root = sole_reader(total) if total is not None and shifted is not None else None
    if shifted is None or root is None:
        return None
    quotient = _quotient(view, x, root)
    if quotient is None or fixed_size(x, -1) is None or dtype(x) is None:
        return None
    square = average.args[0]
    if is_alone and set(x.users) != {square, quotient}:
        return None
    return (quotient, shifted[1]) if shifted[1] >= 0 else None


def _quotient(view: GraphView, x: fx.Node, root: fx.Node) -> fx.Node | None:
    """``x / root``, or ``x`` times the reciprocal of the root."""
    inverse: fx.Node | None = root
    if is_call(root, torch.sqrt):
        inverse = sole_reader(root)
        if is_call(inverse, torch.div) and not inverse.kwargs and inverse.args == (x, root):
            return inverse
        if not _is_reciprocal(view, inverse, root):
            return None
    elif not is_call(root, torch.rsqrt):
        return None
    product = sole_reader(inverse) if inverse is not None else None
    if is_call(product, torch.mul) and set(product.args) == {x, inverse}:
        return product
    return None


def _is_reciprocal(view: GraphView, node: fx.Node | None, root: fx.Node) -> bool:
    """Whether ``node`` is ``1 / root``."""
    if is_call(node, torch.reciprocal):
        return True
    if not is_call(node, torch.div) or node.kwargs or node.args[1] is not root:
        return False
    one = node.args[0]
    return view.is_number(one, 1.0) and view.keeps_axes(node, root, one)


def _mean_square(view: GraphView, x: fx.Node) -> fx.Node | None:
    """The mean of ``x ** 2``, if that is the only square taken and nothing else reads it."""
    squares = [reader for reader in x.users if _root_of_square(view, reader) is x]
    average = sole_reader(squares[0]) if len(squares) == 1 else None
    return average if is_call(average, mean) else None


def _root_of_square(view: GraphView, node: Any) -> fx.Node | None:
    """``x`` of ``x ** 2`` and ``x * x``."""
    raised = view.with_number(node, torch.pow)
    if raised is not None and raised[1] == 2.0:
        return raised[0]
    if is_call(node, torch.mul) and not node.kwargs and node.args[0] is node.args[1]:
        found = node.args[0]
        return found if isinstance(found, fx.Node) else None
    return None


def _is_mean_of(node: Any, x: Any) -> bool:
    """Whether it is the mean of ``x`` over the last axis, which stays."""
    if not is_call(node, mean) or node.args[0] is not x or not node.kwargs.get("keepdim"):
        return False
    axes, axis_count = node.args[1], rank(x)
    element_type = dtype(x)
    is_float = element_type is not None and element_type.is_floating_point
    return is_float and axis_count is not None and axes in ((-1,), (axis_count - 1,))


def _applied(
    view: GraphView, node: fx.Node, function: Any, size: int | None
) -> tuple[fx.Node, fx.Node | None]:
    """``node`` scaled or shifted by a vector of the module, and the vector; else as it is."""
    reader = sole_reader(node)
    if not is_call(reader, function) or reader.kwargs or len(reader.args) != 2:
        return node, None
    left, right = reader.args
    vector = right if left is node else left
    tensor = view.tensor(vector)
    if tensor is None or tuple(tensor.shape) != (size,) or tensor.dtype != dtype(node):
        return node, None
    assert isinstance(vector, fx.Node)
    return reader, vector
