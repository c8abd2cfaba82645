"""Operators on host values: what exporters compute shapes with, done in Python integers."""

import torch

from optimizer.bridge import host
from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue
from optimizer.bridge.registry import on_host
from optimizer.bridge.values import Value

_COMPARISONS = frozenset(
    {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or"}
)


@on_host(*(name for name in host.FUNCTIONS if name[0].isupper()))
def elementwise(call: Call) -> Value | None:
    """Arithmetic, comparisons and choices."""
    name = call.node.op_type
    operands = [call.numbers(position) for position in range(len(call.inputs))]
    if name in {"Min", "Max"} and len(operands) != 2:
        return None
    dtype = torch.bool if name in _COMPARISONS else call.dtype(1 if name == "Where" else 0)
    found = call.write.emit_host(host.elementwise, name, *operands, dtype=dtype)
    return call.settle(found, dtype)


@on_host("Cast")
def cast(call: Call) -> Value | None:
    """Conversion between integers, floats and booleans."""
    dtype = DTYPES.get(call.attribute("to"))
    if dtype is None or dtype.is_complex or (dtype.itemsize == 1 and dtype.is_floating_point):
        return None
    kind = "bool" if dtype == torch.bool else "float" if dtype.is_floating_point else "int"
    found = call.write.emit_host(host.elementwise, kind, call.numbers(0), dtype=dtype, moves=True)
    return call.settle(found, dtype)


@on_host("Concat")
def concat(call: Call) -> Value | None:
    """Join parts of a shape."""
    parts = [call.numbers(position) for position in range(len(call.inputs))]
    dtype = call.dtype(0)
    return call.settle(call.write.emit_host(host.join, *parts, dtype=dtype, moves=True), dtype)


@on_host("Unsqueeze")
def unsqueeze(call: Call) -> Value | None:
    """From a number to a shape of one axis; higher ranks are tensors."""
    if call.value(0).shape() != ():
        return None
    return _moved(call, host.join)


@on_host("Squeeze")
def squeeze(call: Call) -> Value | None:
    """From one element to a number."""
    if call.value(0).shape() not in {(), (1,)}:
        return None
    return _moved(call, host.only)


@on_host("Reshape", "Flatten")
def reshape(call: Call) -> Value | None:
    """To a number, or to a flat list."""
    target = call.numbers(1) if call.has(1) else None
    if target == ():
        return _moved(call, host.only)
    if isinstance(target, tuple) and len(target) == 1:
        return _moved(call, host.join)
    return None


@on_host("Slice")
def slice_of_shape(call: Call) -> Value | None:
    """A part of a shape."""
    if call.opset < 10 or len(call.value(0).shape() or ()) != 1:
        return None
    bounds = [call.numbers(position) for position in (1, 2)]
    bounds.append(call.numbers(4) if call.has(4) else 1)
    dtype = call.dtype(0)
    found = call.write.emit_host(cut_shape, call.numbers(0), *bounds, dtype=dtype, moves=True)
    return call.settle(found, dtype)


def cut_shape(
    values: HostValue, start: HostValue, end: HostValue, step: HostValue
) -> tuple[host.Number, ...]:
    """Slice along the only axis; bounds may be lists of one."""
    assert isinstance(values, tuple)
    start, end, step = (int(host.only(bound)) for bound in (start, end, step))
    return host.cut(values, start, end, step)


@on_host(*host.REDUCTIONS)
def reduce(call: Call) -> Value | None:
    """Reduction of a whole shape to one number."""
    dtype, keep = call.dtype(0), bool(call.attribute("keepdims", 1))
    if call.value(0).shape() is None or len(call.value(0).shape() or ()) != 1:
        return None
    found = call.write.emit_host(host.reduce, call.node.op_type, call.numbers(0), keep, dtype=dtype)
    return call.settle(found, dtype)


def _moved(call: Call, function: object) -> Value:
    dtype = call.dtype(0)
    assert callable(function)
    return call.settle(
        call.write.emit_host(function, call.numbers(0), dtype=dtype, moves=True), dtype
    )
