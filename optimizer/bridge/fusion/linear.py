"""A product with a matrix of weights, and the bias that is added to it: torch's linear layer."""

from typing import Any

import torch
from torch import fx
from torch.nn import functional

from optimizer.bridge.fusion.view import (
    GraphView,
    dtype,
    is_call,
    is_inside,
    rank,
    shapes,
    sole_reader,
)


def fuse_linear(view: GraphView) -> int:
    """Replace ``x @ w + b`` with a vector ``b`` as long as ``w`` is wide; count.

    The weight may be read through a transposition, as older exports have it.
    """
    found = 0
    for product in view.calls(torch.matmul):
        x, weight = product.args
        total = sole_reader(product)
        if total is None or not is_call(total, torch.add) or not isinstance(weight, fx.Node):
            continue
        if rank(weight) != 2:
            continue
        bias = _other(total, product)
        if not _is_bias(view, bias, weight) or (rank(x) or 0) < 2 or dtype(x) != dtype(bias):
            continue
        transposed = _transposed(weight, product)
        if transposed is None:
            view.replace(total, linear_of_columns, x, weight, bias)
        else:
            view.replace(total, functional.linear, x, transposed, bias)
        found += 1
    return found


def linear_of_columns(
    x: torch.Tensor, weight_IO: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """``x @ weight_IO + bias`` in one call; I inputs, O outputs."""
    return functional.linear(x, weight_IO.t(), bias)


def _other(total: fx.Node, product: fx.Node) -> Any:
    if total.kwargs or len(total.args) != 2:
        return None
    left, right = total.args
    return right if left is product else left


def _is_bias(view: GraphView, bias: Any, weight: fx.Node) -> bool:
    """Whether it is a vector in the module, one number for each column."""
    tensor, sizes = view.tensor(bias), shapes(weight)
    if tensor is None or sizes is None or sizes[0] != sizes[1]:
        return False
    return tuple(tensor.shape) == sizes[0][1:]


def _transposed(weight: fx.Node, product: fx.Node) -> fx.Node | None:
    """What ``weight`` is the transposition of."""
    if is_call(weight, torch.permute) and is_inside(weight, product):
        source, order = weight.args
        is_swap = isinstance(order, tuple | list) and tuple(order) == (1, 0)
        return source if is_swap and isinstance(source, fx.Node) else None
    return None
