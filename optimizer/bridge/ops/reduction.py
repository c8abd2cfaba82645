"""Reductions over axes that are an attribute in old versions and an input in new ones."""

from collections.abc import Callable

import torch

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, only
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


def _reduce(call: Call) -> Value:
    """Reduce; without axes reduce all of them or, if the node says so, none."""
    name, x = call.node.op_type, call.tensor(0)
    keep = bool(call.attribute("keepdims", 1))
    axes = call.numbers(1) if call.has(1) else tuple(call.attribute("axes", ()))
    does_nothing = bool(call.attribute("noop_with_empty_axes", 0))
    if isinstance(axes, Value):
        return call.write.emit(reduce_over, x, name, axes, keepdim=keep, does_nothing=does_nothing)
    axes = axes if isinstance(axes, tuple) else (axes,)
    if not axes and does_nothing:
        return call.write.emit(_OF_ONE_ELEMENT.get(name, torch.clone), x)
    return call.write.emit(_REDUCTIONS[name], x, axes or tuple(range(call.rank(0))), keepdim=keep)


def reduce_over(
    x: torch.Tensor, name: str, axes: HostValue, *, keepdim: bool, does_nothing: bool
) -> torch.Tensor:
    """Reduce over axes that are only known now."""
    axes = axes if isinstance(axes, tuple) else (axes,)
    if not axes and does_nothing:
        return _OF_ONE_ELEMENT.get(name, torch.clone)(x)
    result: torch.Tensor = _REDUCTIONS[name](x, axes or tuple(range(x.dim())), keepdim=keepdim)
    return result


def summed(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Sum that keeps the element type; torch widens integers."""
    return torch.sum(x, axes, keepdim=keepdim, dtype=x.dtype)


def square_sum(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Sum of squares."""
    return summed(x * x, axes, keepdim=keepdim)


def absolute_sum(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Sum of absolute values."""
    return summed(torch.abs(x), axes, keepdim=keepdim)


def euclidean(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Euclidean norm."""
    if not x.is_floating_point():
        return torch.sqrt(square_sum(x, axes, keepdim=keepdim).double()).to(x.dtype)
    norm: torch.Tensor = torch.linalg.vector_norm(x, 2, axes, keepdim=keepdim)
    return norm


def logarithm_of_sum(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Logarithm of the sum."""
    return torch.log(summed(x, axes, keepdim=keepdim))


def mean(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Mean; of integers truncated."""
    if x.is_floating_point():
        return torch.mean(x, axes, keepdim=keepdim)
    return torch.mean(x.double(), axes, keepdim=keepdim).to(x.dtype)


def product(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Product; torch takes one axis at a time."""
    for axis in sorted((axis % max(x.dim(), 1) for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keepdim, dtype=x.dtype)
    return x


def maximum(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Largest element; of booleans whether any is set."""
    if x.dtype == torch.bool:
        return torch.any(x, axes, keepdim=keepdim)
    if not x.numel():
        return _of_nothing(x, axes, keepdim=keepdim, largest=False)
    return torch.amax(x, axes, keepdim=keepdim)


def minimum(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    """Smallest element; of booleans whether all are set."""
    if x.dtype == torch.bool:
        return torch.all(x, axes, keepdim=keepdim)
    if not x.numel():
        return _of_nothing(x, axes, keepdim=keepdim, largest=True)
    return torch.amin(x, axes, keepdim=keepdim)


def _of_nothing(
    x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool, largest: bool
) -> torch.Tensor:
    """The extreme of no elements: what every element would replace; torch has none."""
    shape = torch.sum(x, axes, keepdim=keepdim).shape
    if x.is_floating_point():
        return x.new_full(shape, float("inf") if largest else -float("inf"))
    limits = torch.iinfo(x.dtype)
    return x.new_full(shape, limits.max if largest else limits.min)


_REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "ReduceMean": mean,
    "ReduceSum": summed,
    "ReduceMax": maximum,
    "ReduceMin": minimum,
    "ReduceProd": product,
    "ReduceL1": absolute_sum,
    "ReduceL2": euclidean,
    "ReduceLogSum": logarithm_of_sum,
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceSumSquare": square_sum,
}
_OF_ONE_ELEMENT: dict[str, Callable[..., torch.Tensor]] = {
    "ReduceL1": torch.abs,
    "ReduceL2": torch.abs,
    "ReduceLogSum": torch.log,
    "ReduceSumSquare": torch.square,
}

for _op_type in _REDUCTIONS:
    operator(_op_type)(_reduce)


@operator("ArgMax", "ArgMin")
def arg_extreme(call: Call) -> Value:
    """Position of the largest or smallest element along one axis."""
    axis, keep = call.attribute("axis", 0), bool(call.attribute("keepdims", 1))
    last = bool(call.attribute("select_last_index", 0))
    largest = call.node.op_type == "ArgMax"
    return call.write.emit(
        position_of_extreme, call.tensor(0), axis, keepdim=keep, largest=largest, last=last
    )


def position_of_extreme(
    x: torch.Tensor, axis: int, *, keepdim: bool, largest: bool, last: bool
) -> torch.Tensor:
    """Return where the extreme is along ``axis``, the first or the last of equal ones."""
    function = torch.argmax if largest else torch.argmin
    if not last:
        return function(x, axis, keepdim=keepdim)
    return x.shape[axis] - 1 - function(torch.flip(x, (axis,)), axis, keepdim=keepdim)


@operator("CumSum", "CumProd")
def cumulative(call: Call) -> Value:
    """Running sum or product along an axis, optionally without the element or from the end."""
    axis, is_sum = call.numbers(1), call.node.op_type == "CumSum"
    exclusive, backwards = bool(call.attribute("exclusive", 0)), bool(call.attribute("reverse", 0))
    return call.write.emit(
        running, call.tensor(0), axis, is_sum=is_sum, exclusive=exclusive, backwards=backwards
    )


def running(
    x: torch.Tensor, where: HostValue, *, is_sum: bool, exclusive: bool, backwards: bool
) -> torch.Tensor:
    """Return running sums or products along an axis."""
    axis = int(only(where))
    turned = torch.flip(x, (axis,)) if backwards else x
    if exclusive and x.shape[axis]:
        first = turned.narrow(axis, 0, 1)
        neutral = torch.zeros_like(first) if is_sum else torch.ones_like(first)
        turned = torch.cat((neutral, turned.narrow(axis, 0, x.shape[axis] - 1)), axis)
    function = torch.cumsum if is_sum else torch.cumprod
    results = function(turned, axis, dtype=x.dtype)
    return torch.flip(results, (axis,)) if backwards else results


@operator("TopK")
def top_k_attribute(call: Call) -> list[Value]:
    """Version 1: ``k`` is an attribute."""
    return call.write.emit_many(
        2, largest_elements, call.tensor(0), call.attribute("k"), call.attribute("axis", -1)
    )


@operator("TopK", since=10)
def top_k(call: Call) -> list[Value]:
    """The ``k`` largest or smallest elements along an axis, and where they are."""
    k, axis = call.numbers(1), call.attribute("axis", -1)
    largest = bool(call.attribute("largest", 1))
    return call.write.emit_many(2, largest_elements, call.tensor(0), k, axis, largest=largest)


def largest_elements(
    x: torch.Tensor, k: HostValue, axis: int, *, largest: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values and positions, sorted; of equal ones the first wins, as ONNX has it."""
    count = int(only(k))
    order = torch.argsort(x, dim=axis, descending=largest, stable=True)
    chosen = order.narrow(axis, 0, count)
    return torch.gather(x, axis, chosen), chosen
