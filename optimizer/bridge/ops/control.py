"""If, Loop and Scan.

What is decided at import leaves no trace: the taken branch of an If, or the iterations of a Loop
that are few and whose number and conditions are known, are written into the graph around.
"""

from collections.abc import Sequence
from typing import Any

import torch

from optimizer.bridge.body_import import Body, number_of
from optimizer.bridge.call import Call
from optimizer.bridge.control import BatchedScanModule, IfModule, LoopModule, ScanModule, Stack
from optimizer.bridge.joining import (
    are_alike,
    as_template,
    is_known,
    joined,
    known_number,
    like,
    part_of,
    stacked,
)
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import NO_PROBES, Value

_ATTEMPTS = 5  # until it is known what a state is like in every iteration
_SOME_COUNTS = (3, 5)  # sizes of an axis that nobody knows: different at the two bindings


@operator("If")
def choice(call: Call) -> Sequence[Value]:
    """One branch if the condition is known, else both, of which one runs."""
    condition = call.value(0)
    if is_known(condition):
        call.write.baked |= condition.sources
        branch = "then_branch" if known_number(condition) else "else_branch"
        return call.bodies.inline(branch, ())
    then = call.bodies.apart("then_branch", ())
    other = call.bodies.apart("else_branch", ())
    if call.bodies.is_stopped:
        return []
    results = [
        joined(one, two, relaxes_batch=call.write.relaxes_batch)
        for one, two in zip(then.outputs, other.outputs, strict=True)
    ]
    module = IfModule(
        then.finish(_settled(then, then.outputs, results)),
        other.finish(_settled(other, other.outputs, results)),
    )
    return _results(call, "if", module, results, condition, [*then.captured], [*other.captured])


@operator("Loop")
def loop(call: Call) -> Sequence[Value]:
    """Written out if that is known to be short, else a module."""
    count = call.value(0) if call.has(0) else None
    condition = call.value(1) if call.has(1) else None
    states = [call.value(position) for position in range(2, len(call.inputs))]
    written = _written_out(call, count, condition, states)
    if written is not None or call.bodies.is_stopped:
        return written or []
    start = [
        _counter(torch.int64, call),
        Value(dtype=torch.bool, is_host=True, inferred_rank=0),
    ]
    body, templates = _settled_body(call, start, states, [], first_output=1)
    if body is None:
        return []
    again, made = body.outputs[0], body.outputs[1 + len(states) :]
    results = _settled(body, body.outputs[1 : 1 + len(states)], templates)
    counts = _counts(call, count, body, condition)
    stacks = [_stack(call, value) for value in made]
    module = LoopModule(
        body.finish([again, *results, *_settled(body, made, [None] * len(made))]),
        len(states),
        stacks,
    )
    shapes = [stacked(value, counts) for value in made]
    given = [
        _given(call, state, template) for state, template in zip(states, templates, strict=True)
    ]
    # a module that runs no iteration returns what it was given
    arguments = (count, condition, given, [*body.captured], call.write.anchor)
    return _results(call, "loop", module, [*templates, *shapes], *arguments)


@operator("Scan", since=9)
def scan(call: Call) -> Sequence[Value]:
    """A module that calls the body for every slice."""
    scanned_count = call.attribute("num_scan_inputs")
    values = call.tensors()
    states, scanned = values[: len(values) - scanned_count], values[-scanned_count:]
    axes = _listed(call, "scan_input_axes", scanned_count)
    backwards = _listed(call, "scan_input_directions", scanned_count)
    slices = [part_of(value, axis) for value, axis in zip(scanned, axes, strict=True)]
    body, templates = _settled_body(call, [], states, slices, first_output=0)
    if body is None:
        return []
    made = body.outputs[len(states) :]
    out_axes = _listed(call, "scan_output_axes", len(made))
    out_backwards = _listed(call, "scan_output_directions", len(made))
    module = ScanModule(
        body.finish(_settled(body, body.outputs, [*templates, *[None] * len(made)])),
        len(states),
        list(zip(axes, map(bool, backwards), strict=True)),
        [
            _stack(call, value, axis=axis, is_reversed=bool(reverse))
            for value, axis, reverse in zip(made, out_axes, out_backwards, strict=True)
        ],
    )
    counts = _lengths(scanned[0], axes[0])
    shapes = [stacked(value, counts, axis) for value, axis in zip(made, out_axes, strict=True)]
    arguments = (states, scanned, [*body.captured], call.write.anchor)
    return _results(call, "scan", module, [*templates, *shapes], *arguments)


@operator("Scan", since=8)
def batched_scan(call: Call) -> Sequence[Value]:
    """The same for every sample: axis 0 is the batch, axis 1 is scanned."""
    count = call.attribute("num_scan_inputs")
    lengths = call.optional(0)
    values = [call.tensor(position) for position in range(1, len(call.inputs))]
    states, scanned = values[: len(values) - count], values[-count:]
    backwards = _listed(call, "directions", count)
    slices = [part_of(part_of(value, 1), 0) for value in scanned]
    own = [part_of(state, 0) for state in states]
    body, templates = _settled_body(call, [], own, slices, first_output=0)
    if body is None:
        return []
    made = body.outputs[len(states) :]
    one = ScanModule(
        body.finish(_settled(body, body.outputs, [*templates, *[None] * len(made)])),
        len(states),
        [(0, bool(reverse)) for reverse in backwards],
        [_stack(call, value) for value in made],
    )
    batches = _lengths(scanned[0], 0)
    results = [stacked(template, batches) for template in templates]
    results += [stacked(stacked(value, _lengths(scanned[0], 1)), batches) for value in made]
    arguments = (lengths, states, scanned, [*body.captured], call.write.anchor)
    return _results(call, "scan", BatchedScanModule(one), results, *arguments)


def _written_out(
    call: Call, count: Value | None, condition: Value | None, states: Sequence[Value]
) -> list[Value] | None:
    """All iterations in the graph around; ``None`` if they are many or their number is not known.

    What was written of them until that turned out is dead code.
    """
    if any(value is not None and not is_known(value) for value in (count, condition)):
        return None
    limit = None if count is None else int(known_number(count))
    if not call.bodies.are_few("body", max(1, limit or 0)):
        return None
    baked, binds_batch = set(call.write.baked), call.write.binds_batch
    goes_on = condition is None or bool(known_number(condition))
    made: list[Sequence[Value]] = []
    decided = [value.sources for value in (count, condition) if value is not None]
    step = 0
    while goes_on and (limit is None or step < limit) and call.bodies.are_few("body", step + 1):
        inputs = (number_of(step), number_of(goes_on), *states)
        outputs = call.bodies.inline("body", inputs)
        if not outputs:
            return None
        again, results = outputs[0], outputs[1:]
        if not is_known(again):
            break
        decided.append(again.sources)
        goes_on, step = bool(known_number(again)), step + 1
        states = results[: len(states)]
        made.append(results[len(states) :])
    is_over = not goes_on or step == limit
    stacks = call.bodies.num_outputs("body") - 1 - len(states)
    if not is_over or (stacks and not made):
        call.write.baked.clear()
        call.write.baked.update(baked)
        call.write.binds_batch = binds_batch
        return None
    call.write.baked |= frozenset().union(*decided)
    columns = zip(*made, strict=True) if made else []
    return [*states, *(_stacked_now(call, column) for column in columns)]


def _stacked_now(call: Call, column: Sequence[Value]) -> Value:
    return call.write.emit(torch.stack, [call.write.tensor(value) for value in column])


def _settled_body(
    call: Call,
    start: Sequence[Value],
    states: Sequence[Value],
    slices: Sequence[Value],
    *,
    first_output: int,
) -> tuple[Body | None, list[Value]]:
    """Translate a body such that what is known of its states is true in every iteration.

    Args:
        call: The Loop or Scan.
        start: What inputs before the states are like.
        states: Initial states.
        slices: What inputs after the states are like.
        first_output: Position of the first state among the outputs.

    Returns:
        The body, ``None`` if something in it is unsupported, and what its states are like.

    Raises:
        UnsupportedVariant: The type of a state is another one in every iteration.
    """
    relaxes_batch = call.write.relaxes_batch
    templates = [as_template(state) for state in states]
    baked = set(call.write.baked)
    for _ in range(_ATTEMPTS):
        call.write.baked.clear()
        call.write.baked.update(baked)
        body = call.bodies.apart("body", [*start, *templates, *slices])
        if call.bodies.is_stopped:
            return None, []
        after = body.outputs[first_output : first_output + len(states)]
        if len(after) != len(states):
            message = "has a body with fewer outputs than states"
            raise UnsupportedVariant(message)
        found = [
            joined(template, value, relaxes_batch=relaxes_batch)
            for template, value in zip(templates, after, strict=True)
        ]
        if all(map(are_alike, templates, found)):
            return body, templates
        templates = found
    message = "has a state of which every iteration makes something else"
    raise UnsupportedVariant(message)


def _settled(
    body: Body, values: Sequence[Value], templates: Sequence[Value | None]
) -> list[object]:
    """What the graph of a body yields for its outputs: numbers on the host, or tensors."""
    return [
        _yielded(body, value, template) for value, template in zip(values, templates, strict=True)
    ]


def _yielded(body: Body, value: Value, template: Value | None) -> object:
    if template is not None and template.is_host:
        return value if value.is_host else value.numbers()
    return body.writer.tensor(value) if value.is_tensor else value


def _given(call: Call, state: Value, template: Value) -> object:
    """An initial state as the body takes it."""
    if template.is_host:
        return call.write.numbers(state)
    return call.write.tensor(state) if state.is_tensor else state


def _counter(dtype: torch.dtype, call: Call) -> Value:
    """The number of an iteration, which differs from one to the next as from one binding to other.

    While a fixed batch is being freed, what varies would be taken for the batch.
    """
    probes = NO_PROBES if call.write.relaxes_batch else (1, 2)
    return Value(dtype=dtype, is_host=True, probes=probes, inferred_rank=0)


def _counts(
    call: Call, count: Value | None, body: Body, condition: Value | None
) -> tuple[int, int] | None:
    """How often a Loop runs at the two bindings, as far as shapes are concerned."""
    again = body.outputs[0]
    goes_on = again is body.inputs[1] or (is_known(again) and bool(known_number(again)))
    starts = condition is None or (is_known(condition) and bool(known_number(condition)))
    if goes_on and starts and count is not None and is_known(count):
        known = max(0, int(known_number(count)))
        return known, known
    return None if call.write.relaxes_batch else _SOME_COUNTS


def _lengths(value: Value, axis: int) -> tuple[int, int] | None:
    first, second = value.shape(0), value.shape(1)
    if first is None or second is None or not -len(first) <= axis < len(first):
        return None
    return first[axis], second[axis]


def _stack(call: Call, value: Value, *, axis: int = 0, is_reversed: bool = False) -> Stack:
    sizes = value.static_shape or ((None,) * (value.rank or 0))
    if call.write.relaxes_batch:  # what varies has the size that the file says
        sizes = value.shape() or sizes
    return Stack(
        axis=axis,
        is_reversed=is_reversed,
        shape=tuple(size or 0 for size in sizes),
        dtype=value.dtype or torch.float32,
    )


def _listed(call: Call, name: str, count: int) -> list[int]:
    """An attribute with one number per tensor; zeros if it is left out."""
    found = list(call.attribute(name) or [0] * count)
    if len(found) != count:
        message = f"has {len(found)} {name} for {count} tensors"
        raise UnsupportedVariant(message)
    return found


def _results(
    call: Call, kind: str, module: torch.nn.Module, templates: Sequence[Value], *args: Any
) -> list[Value]:
    """Write the call of a module, and take its results apart."""
    node = call.write.call_module(kind, module, *args)
    return [
        like(template, call.write.item(node, position))
        for position, template in enumerate(templates)
    ]
