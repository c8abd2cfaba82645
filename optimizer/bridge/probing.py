"""Runs a call of the graph on meta tensors: shapes and element types without any data."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from optimizer.bridge.values import Value

# What torch raises for shapes that do not fit or data that a meta tensor does not have.
PROBE_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    NotImplementedError,
    ArithmeticError,  # an axis that is empty at this binding
    AssertionError,  # how torch's own functions check their arguments
)


def map_values(argument: Any, function: Callable[[Value], Any]) -> Any:
    """Replace every ``Value`` in an argument, also inside tuples, lists and slices."""
    if isinstance(argument, Value):
        return function(argument)
    if isinstance(argument, tuple | list):
        return type(argument)(map_values(item, function) for item in argument)
    if isinstance(argument, slice):
        parts = (argument.start, argument.stop, argument.step)
        return slice(*(map_values(part, function) for part in parts))
    return argument


def values_in(arguments: Iterable[Any]) -> list[Value]:
    """Return every ``Value`` in ``arguments``, in order."""
    found: list[Value] = []
    for argument in arguments:
        map_values(argument, found.append)
    return found


def probe(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], binding: int
) -> Any:
    """Return what the call yields at one binding; ``None`` if that cannot be known."""
    values = values_in((*args, *kwargs.values()))
    if any(value.probes[binding] is None for value in values):
        return None

    def at_binding(value: Value) -> Any:
        return value.probes[binding]

    try:
        with torch.no_grad():
            return function(
                *map_values(args, at_binding),
                **{name: map_values(item, at_binding) for name, item in kwargs.items()},
            )
    except PROBE_ERRORS:
        return None
