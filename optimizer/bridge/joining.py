"""What is known of a value that may be one of two: the result of an If, the state of a Loop.

Types must agree; shapes may differ, and then the axes that do count as varying.
"""

from dataclasses import replace

import torch
from torch import fx

from optimizer.bridge.host import Number
from optimizer.bridge.unsupported import UnsupportedVariant
from optimizer.bridge.values import NO_PROBES, Probes, Value

ABSENT = Value(dtype=None, is_absent=True)
_INTEGERS = frozenset({torch.int64, torch.int32, torch.bool})


def like(template: Value, node: fx.Node | None) -> Value:
    """Return a value that lives at ``node`` and is like ``template``."""
    return replace(
        template, node=node, constant=None, initializer=None, sources=frozenset(), items=None
    )


def can_be_host(value: Value) -> bool:
    """Whether it is shape arithmetic, or a constant that may be."""
    return value.is_host or (value.is_small_constant and value.dtype in _INTEGERS)


def is_known(value: Value) -> bool:
    """Whether it is one number that is known at import."""
    return value.constant is not None and value.constant.numel() == 1


def known_number(value: Value) -> Number:
    """Return the number that ``value`` is known to be."""
    assert value.constant is not None
    number: Number = value.constant.item()
    return number


def as_template(value: Value) -> Value:
    """Return what is known of ``value`` besides its own content and place."""
    if value.items is not None:
        return _sequence(value)
    if can_be_host(value):
        rank = value.rank
        return Value(dtype=value.dtype, is_host=True, inferred_rank=rank)
    return replace(value, constant=None, initializer=None, sources=frozenset(), node=None)


def joined(first: Value, other: Value, *, relaxes_batch: bool) -> Value:
    """Return what is known of a value that is one or the other; it has no node.

    1. Nothing and something are an optional.
    2. Sequences are one if their tensors are of one type.
    3. Numbers on the host stay there if both are numbers of the same rank.
    4. Of tensors, sizes that differ count as varying; while a fixed batch is being freed, what
       varies would be taken for the batch, so then nothing is known of the shape.

    Raises:
        UnsupportedVariant: They are of different types.
    """
    if first.is_absent or other.is_absent:
        return replace(as_template(other if first.is_absent else first), is_optional=True)
    one, two = as_template(first), as_template(other)
    is_optional = one.is_optional or two.is_optional
    if one.is_sequence or two.is_sequence:
        return replace(_joined_sequences(one, two), is_optional=is_optional)
    dtype = one.dtype or two.dtype
    if one.dtype != two.dtype and one.dtype is not None and two.dtype is not None:
        message = f"has a value that is {one.dtype} or {two.dtype}, depending on what is run"
        raise UnsupportedVariant(message)
    if one.is_host and two.is_host and one.rank == two.rank:
        return Value(dtype=dtype, is_host=True, inferred_rank=one.rank)
    rank = first.rank if first.rank == other.rank else None
    probes = _joined_probes(first, other, relaxes_batch=relaxes_batch)
    return Value(dtype=dtype, probes=probes, inferred_rank=rank, is_optional=is_optional)


def are_alike(first: Value, other: Value) -> bool:
    """Whether as much is known of one template as of the other."""
    return (
        (first.dtype, first.rank, first.is_host, first.is_sequence, first.is_optional)
        == (other.dtype, other.rank, other.is_host, other.is_sequence, other.is_optional)
        and first.shape(0) == other.shape(0)
        and first.shape(1) == other.shape(1)
    )


def stacked(value: Value, counts: tuple[int, int] | None, axis: int = 0) -> Value:
    """Return what is known of tensors like ``value`` stacked along a new axis.

    Args:
        value: One of them.
        counts: How many at the two bindings, ``None`` if that is not known.
        axis: Of the result.
    """
    rank = None if value.rank is None else value.rank + 1
    first, second = value.shape(0), value.shape(1)
    probes = NO_PROBES
    if counts is not None and first is not None and second is not None:
        probes = tuple(  # type: ignore[assignment]
            _meta(_inserted(shape, count, axis), value.dtype)
            for shape, count in zip((first, second), counts, strict=True)
        )
    return Value(dtype=value.dtype, probes=probes, inferred_rank=rank)


def part_of(value: Value, axis: int) -> Value:
    """Return what is known of slices of ``value`` along an axis."""
    rank = None if value.rank is None else value.rank - 1
    first, second = value.shape(0), value.shape(1)
    probes = NO_PROBES
    if first is not None and second is not None and -len(first) <= axis < len(first):
        probes = tuple(  # type: ignore[assignment]
            _meta(_without(shape, axis), value.dtype) for shape in (first, second)
        )
    return Value(dtype=value.dtype, probes=probes, inferred_rank=rank)


def _sequence(value: Value) -> Value:
    items = value.items or ()
    dtypes = {item.dtype for item in items} or {value.dtype}
    ranks = {item.rank for item in items} or {value.inferred_rank}
    return Value(
        dtype=dtypes.pop() if len(dtypes) == 1 else None,
        inferred_rank=ranks.pop() if len(ranks) == 1 else None,
        is_sequence=True,
    )


def _joined_sequences(one: Value, two: Value) -> Value:
    if not (one.is_sequence and two.is_sequence):
        message = "has a value that is a sequence or a tensor, depending on what is run"
        raise UnsupportedVariant(message)
    rank = one.inferred_rank if one.inferred_rank == two.inferred_rank else None
    return Value(dtype=one.dtype or two.dtype, inferred_rank=rank, is_sequence=True)


def _joined_probes(one: Value, two: Value, *, relaxes_batch: bool) -> Probes:
    shapes = [value.shape(binding) for value in (one, two) for binding in (0, 1)]
    a_first, a_second, b_first, b_second = shapes
    if a_first is None or a_second is None or b_first is None or b_second is None:
        return NO_PROBES
    if not len(a_first) == len(a_second) == len(b_first) == len(b_second):
        return NO_PROBES
    pairs = []
    for a, b in zip(
        zip(a_first, a_second, strict=True), zip(b_first, b_second, strict=True), strict=True
    ):
        if a != b and relaxes_batch:
            return NO_PROBES
        pairs.append(_joined_sizes(a, b))
    dtype = one.dtype or two.dtype
    first, second = (_meta(tuple(pair[place] for pair in pairs), dtype) for place in (0, 1))
    return first, second


def _joined_sizes(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """A pair for an axis; unequal if the size varies with the free axes or between the two."""
    if a == b or a[0] != a[1]:
        return a
    return b if b[0] != b[1] else (a[0], b[0])


def _meta(shape: tuple[int, ...], dtype: torch.dtype | None) -> torch.Tensor | None:
    return None if dtype is None else torch.empty(shape, dtype=dtype, device="meta")


def _inserted(shape: tuple[int, ...], count: int, axis: int) -> tuple[int, ...]:
    place = axis % (len(shape) + 1)
    return (*shape[:place], count, *shape[place:])


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    place = axis % len(shape)
    return shape[:place] + shape[place + 1 :]
