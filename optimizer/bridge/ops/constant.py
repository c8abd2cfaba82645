"""Values that come from nowhere: Constant, ConstantOfShape, Range, EyeLike, and identities."""

import torch

from optimizer.bridge import host
from optimizer.bridge.arrays import DTYPES, constant_proto, tensor_from_proto
from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue
from optimizer.bridge.registry import UnsupportedVariant, on_host, operator
from optimizer.bridge.values import SMALL, Value, constant_of


@operator("Constant")
def constant(call: Call) -> Value:
    """Return the value.

    The importer has listed it among the initializers, unless it belongs to an operator's body.
    """
    (name,) = call.node.output
    found = call.initializer(name)
    if found is not None:
        return found
    proto = constant_proto(call.node)
    if proto is None:
        message = "holds strings or a sparse tensor, which torch cannot"
        raise UnsupportedVariant(message)
    return constant_of(tensor_from_proto(proto))


@operator("Identity")
def identity(call: Call) -> Value:
    """Return the input itself."""
    return call.value(0)


@on_host("Identity")
def host_identity(call: Call) -> Value:
    """Return the input itself."""
    return call.value(0)


@operator("ConstantOfShape")
def constant_of_shape(call: Call) -> Value:
    """Fill a shape with one number; of rank 1 and small it is shape arithmetic."""
    value = call.attribute("value", torch.zeros(1))
    number = value.reshape(()).item()
    shape = call.numbers(0)
    return call.write.emit(full, shape, number, value.dtype, call.write.anchor)


@on_host("ConstantOfShape")
def host_constant_of_shape(call: Call) -> Value | None:
    """The same on the host."""
    value = call.attribute("value", torch.zeros(1))
    shape = call.numbers(0)
    known = shape.probes if isinstance(shape, Value) else (shape, shape)
    if any(not isinstance(sizes, tuple) or len(sizes) != 1 or sizes[0] > SMALL for sizes in known):
        return None
    found = call.write.emit_host(host.repeat, shape, value.reshape(()).item(), dtype=value.dtype)
    return call.settle(found, value.dtype)


@operator("Range")
def arange(call: Call) -> Value:
    """Count from input 0 up to input 1 in steps of input 2."""
    dtype = call.dtype(0)
    start, limit, step = (call.numbers(position) for position in range(3))
    return call.write.emit(count, start, limit, step, dtype, call.write.anchor)


@operator("EyeLike")
def eye_like(call: Call) -> Value:
    """Ones on the ``k``-th diagonal of a matrix shaped like the input."""
    dtype = DTYPES[call.attribute("dtype")] if call.attribute("dtype") else call.dtype(0)
    return call.write.emit(eye, call.tensor(0), call.attribute("k", 0), dtype)


def full(
    shape: HostValue, number: host.Number, dtype: torch.dtype, anchor: torch.Tensor
) -> torch.Tensor:
    """Return a tensor of ``shape`` filled with ``number``."""
    sizes = shape if isinstance(shape, tuple) else (shape,)
    return torch.full(sizes, number, dtype=dtype, device=anchor.device)  # type: ignore[arg-type]


def count(
    first: HostValue,
    end: HostValue,
    distance: HostValue,
    dtype: torch.dtype,
    anchor: torch.Tensor,
) -> torch.Tensor:
    """Return ``first, first + distance, ...`` below ``end``; empty if there is none.

    Lists of one number count as numbers, as they do in ONNX Runtime.
    """
    start, limit, step = (host.only(value) for value in (first, end, distance))
    if (limit - start) / step <= 0:
        return torch.empty(0, dtype=dtype, device=anchor.device)
    return torch.arange(start, limit, step, dtype=dtype, device=anchor.device)


def eye(x: torch.Tensor, diagonal: int, dtype: torch.dtype) -> torch.Tensor:
    """Return ones on a diagonal of a matrix of the sizes of ``x``."""
    ones = torch.ones(x.shape, dtype=dtype, device=x.device)
    return torch.triu(torch.tril(ones, diagonal), diagonal)
