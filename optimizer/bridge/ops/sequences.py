"""Sequences and optionals: written as what they hold where that is known at import.

Positions that are tensors are read while the model runs, which waits for the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from optimizer.bridge import sequences
from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.body_import import number_of
from optimizer.bridge.call import Call
from optimizer.bridge.control import SequenceMapModule
from optimizer.bridge.joining import ABSENT, as_template, like
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value


@operator("SequenceEmpty")
def empty(call: Call) -> Value:
    """A sequence without tensors."""
    kind = call.attribute("dtype")
    return Value(dtype=torch.float32 if kind is None else DTYPES.get(kind), items=())


@operator("SequenceConstruct")
def construct(call: Call) -> Value:
    """All inputs, in order."""
    items = tuple(call.tensors())
    return Value(dtype=items[0].dtype, items=items)


@operator("SequenceInsert")
def insert(call: Call) -> Value:
    """One more tensor."""
    found, tensor = _sequence(call, 0), call.tensor(1)
    position = call.numbers(2) if call.has(2) else None
    if found.items is not None and not isinstance(position, Value):
        items = _done(sequences.insert, found.items, tensor, position)
        return Value(dtype=tensor.dtype, items=tuple(items))
    rank = found.inferred_rank if found.inferred_rank == tensor.rank else None
    result = _made(call, sequences.insert, found, found, tensor, position)
    return replace(result, dtype=found.dtype or tensor.dtype, inferred_rank=rank)


@operator("SequenceErase")
def erase(call: Call) -> Value:
    """One tensor less."""
    found = _sequence(call, 0)
    position = call.numbers(1) if call.has(1) else None
    if found.items is not None and not isinstance(position, Value):
        items = _done(sequences.erase, found.items, position)
        return Value(dtype=found.dtype, items=tuple(items))
    return _made(call, sequences.erase, found, found, position)


@operator("SequenceAt")
def at(call: Call) -> Value:
    """One of the tensors."""
    found, position = _sequence(call, 0), call.numbers(1)
    if found.items is not None and not isinstance(position, Value):
        item: Value = _done(sequences.at, found.items, position)
        return item
    node = call.write.call(sequences.at, found, position)
    template = as_template(found)
    return Value(dtype=template.dtype, node=node, inferred_rank=template.inferred_rank)


@operator("SequenceLength")
def length(call: Call) -> Value:
    """How many tensors there are; a number on the host."""
    found = _sequence(call, 0)
    if found.items is not None:
        return number_of(len(found.items))
    result = call.settle(call.write.emit_host(sequences.length, found))
    return replace(result, inferred_rank=0)


@operator("SplitToSequence")
def split(call: Call) -> Value:
    """Parts of a tensor; a known number of them where the size of the axis is known."""
    x, axis = call.tensor(0), call.attribute("axis", 0)
    sizes = call.numbers(1) if call.has(1) else None
    keepdims = bool(call.attribute("keepdims", 1))
    size = x.static_shape[axis] if x.static_shape else None
    if size is None or isinstance(sizes, Value):
        rank = None if x.rank is None else x.rank - (sizes is None and not keepdims)
        result = _made(call, sequences.split, x, x, sizes, axis, keepdims)
        return replace(result, dtype=x.dtype, inferred_rank=rank)
    if isinstance(sizes, tuple):
        parts = [int(part) for part in sizes]
    else:
        one = 1 if sizes is None else int(sizes)
        parts = [min(one, size - start) for start in range(0, size, one)]
    items, start = [], 0
    for part in parts:
        if sizes is None and not keepdims:
            items.append(call.write.emit(torch.select, x, axis, start))
        else:
            items.append(call.write.emit(torch.narrow, x, axis, start, part))
        start += part
    if start != size:
        message = f"splits an axis of {size} into parts of {start} together"
        raise UnsupportedVariant(message)
    return Value(dtype=x.dtype, items=tuple(items))


@operator("ConcatFromSequence")
def concat(call: Call) -> Value:
    """One tensor of all."""
    found, axis = _sequence(call, 0), call.attribute("axis")
    new_axis = bool(call.attribute("new_axis", 0))
    if found.items is not None:
        tensors = [call.write.tensor(item) for item in found.items]
        return call.write.emit(sequences.concat, tensors, axis, new_axis)
    node = call.write.call(sequences.concat, found, axis, new_axis)
    rank = None if found.inferred_rank is None else found.inferred_rank + new_axis
    return Value(dtype=found.dtype, node=node, inferred_rank=rank)


@operator("SequenceMap")
def sequence_map(call: Call) -> Sequence[Value]:
    """Written out for a sequence of known length, else a module that calls the body."""
    inputs = [call.value(position) for position in range(len(call.inputs))]
    _sequence(call, 0)
    is_sequence = [value.items is not None or value.is_sequence for value in inputs]
    count = len(inputs[0].items or ())
    if not any(value.is_sequence for value in inputs) and call.bodies.are_few("body", count):
        calls = [
            call.bodies.inline(
                "body", [value.items[n] if value.items else value for value in inputs]
            )
            for n in range(count)
        ]
        if call.bodies.is_stopped:
            return []
        if calls:
            columns = zip(*calls, strict=True)
            return [Value(dtype=column[0].dtype, items=column) for column in columns]
    templates = [_element(value) for value in inputs]
    body = call.bodies.apart("body", templates)
    if call.bodies.is_stopped:
        return []
    results = [body.writer.tensor(value) for value in body.outputs]
    module = SequenceMapModule(body.finish(results), is_sequence)
    given = [value if value.items is not None else _passed(call, value) for value in inputs]
    node = call.write.call_module("sequence_map", module, given, [*body.captured])
    return [
        Value(
            dtype=result.dtype,
            inferred_rank=result.rank,
            is_sequence=True,
            node=call.write.item(node, position),
        )
        for position, result in enumerate(results)
    ]


@operator("Optional")
def optional(call: Call) -> Value:
    """Something, or nothing."""
    return call.value(0) if call.has(0) else ABSENT


@operator("OptionalGetElement")
def get_element(call: Call) -> Value:
    """What there is; where nothing is, the model is wrong."""
    found = call.value(0)
    if found.is_absent:
        message = "asks for the element of an optional that has none"
        raise UnsupportedVariant(message)
    return replace(found, is_optional=False)


@operator("OptionalHasElement")
def has_element(call: Call) -> Value:
    """Whether there is something; a truth value on the host."""
    if not call.has(0) or call.value(0).is_absent:
        return number_of(value=False)
    if not call.value(0).is_optional:
        return number_of(value=True)
    found = call.write.emit_host(sequences.has_element, call.value(0), dtype=torch.bool)
    return replace(call.settle(found, torch.bool), inferred_rank=0)


def _sequence(call: Call, position: int) -> Value:
    value = call.value(position)
    if value.items is None and not value.is_sequence:
        message = f"has no sequence for input {position}"
        raise UnsupportedVariant(message)
    return value


def _done(function: Callable[..., Any], *args: Any) -> Any:
    """Do it now, on values instead of tensors."""
    try:
        return function(*args)
    except IndexError as error:
        raise UnsupportedVariant(str(error)) from error


def _made(call: Call, function: Callable[..., Any], source: Value, *args: Any) -> Value:
    """A sequence that is made while the model runs, of tensors like those of ``source``."""
    node = call.write.call(function, *args)
    template = as_template(source) if source.items is not None else source
    return like(
        Value(dtype=template.dtype, inferred_rank=template.inferred_rank, is_sequence=True), node
    )


def _element(value: Value) -> Value:
    """What the body of a SequenceMap gets for an input."""
    if value.items is None and not value.is_sequence:
        return replace(value, constant=None, initializer=None, sources=frozenset(), is_host=False)
    template = as_template(value)
    return Value(dtype=template.dtype, inferred_rank=template.inferred_rank)


def _passed(call: Call, value: Value) -> Value:
    return value if value.is_sequence else call.write.tensor(value)
