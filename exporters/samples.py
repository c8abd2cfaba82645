"""Random inputs that a model accepts, made from what its file says about its inputs.

Floats are standard normal. Integers are indices more often than not: one that reaches the index
slot of a Gather stays below the length of the table it looks into, any other is 0 or 1 as a mask
would be. Free axes are bound by the caller or by a guess that real networks tolerate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.errors import SurgeryError
from exporters.sessions import Feeds

_THROUGH = frozenset(
    {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose"}
)
_SAME_TABLE = frozenset({"Cast", "DequantizeLinear", "Identity"})  # rows stay rows
_EMBEDDED = {0: 2, 1: 4, 8: 3}  # EmbedLayerNormalization: words, segments, positions and tables
_SPATIAL = 64  # a free height or width: five halvings leave something
_FREE = 8  # any other free axis, a sequence as a rule
_LIKELY_ONE = 0.75  # share of ones in a mask


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: Its name.
        dtype: Element type as numpy has it.
        shape: A number per axis, or None where the axis is free.
        symbols: Name of a free axis; empty where the file gives none.
        limit: Integers drawn are below it; 0 where they are no index.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    symbols: tuple[str, ...]
    limit: int = 0


def input_specs(model: onnx.ModelProto) -> tuple[InputSpec, ...]:
    """The inputs of ``model`` in order, initializers with a default left out.

    Raises:
        SurgeryError: An input is no tensor of known rank.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    limits = _index_limits(model.graph)
    specs = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
            message = f"input {value.name!r} is no tensor of known rank; give real samples"
            raise SurgeryError(message, param=value.name)
        specs.append(
            InputSpec(
                name=value.name,
                dtype=onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type),
                shape=tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim),
                symbols=tuple(d.dim_param for d in tensor.shape.dim),
                limit=limits.get(value.name, 0),
            )
        )
    return tuple(specs)


def batch_of(feeds: Feeds) -> int:
    """How many samples ``feeds`` hold: the length of the longest first axis."""
    return max((len(values) for values in feeds.values() if values.ndim), default=1)


def has_free_batch(specs: Sequence[InputSpec]) -> bool:
    """Whether the first axis is free in every input that has axes, so that batches can be fed."""
    ranked = [spec for spec in specs if spec.shape]
    return bool(ranked) and all(spec.shape[0] is None for spec in ranked)


def bound_shapes(
    specs: Sequence[InputSpec],
    *,
    batch: int,
    known: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, tuple[int, ...]]:
    """A shape for every input.

    Args:
        specs: The inputs.
        batch: Length of a free first axis.
        known: Shapes that are known to work, for the other free axes; an axis whose symbol occurs
            in a known shape takes its length from there.
    """
    known = known or {}
    symbols = {
        symbol: length
        for spec in specs
        for symbol, length in zip(spec.symbols, known.get(spec.name, ()), strict=False)
        if symbol
    }
    return {
        spec.name: tuple(
            _length(spec, axis, batch=batch, known=known.get(spec.name), symbols=symbols)
            for axis in range(len(spec.shape))
        )
        for spec in specs
    }


def _length(
    spec: InputSpec,
    axis: int,
    *,
    batch: int,
    known: Sequence[int] | None,
    symbols: Mapping[str, int],
) -> int:
    fixed = spec.shape[axis]
    if fixed is not None:
        return fixed
    if axis == 0:
        return batch
    if known is not None and axis < len(known):
        return int(known[axis])
    if spec.symbols[axis] in symbols:
        return symbols[spec.symbols[axis]]
    return _SPATIAL if len(spec.shape) >= 4 else _FREE


def random_feeds(
    specs: Sequence[InputSpec], shapes: Mapping[str, Sequence[int]], rng: np.random.Generator
) -> Feeds:
    """One value per input, drawn from ``rng``."""
    return {spec.name: _draw(spec, tuple(shapes[spec.name]), rng) for spec in specs}


def _draw(spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any]:
    if spec.dtype.kind in "iu":
        if spec.limit:
            return rng.integers(0, spec.limit, shape).astype(spec.dtype)
        if spec.dtype.itemsize == 1:
            return rng.integers(0, np.iinfo(spec.dtype).max, shape, endpoint=True).astype(
                spec.dtype
            )
        return (rng.random(shape) < _LIKELY_ONE).astype(spec.dtype)
    if spec.dtype.kind == "b":
        return rng.random(shape) < _LIKELY_ONE
    if spec.dtype.kind in "OUS":
        return np.full(shape, "a", object)
    return rng.standard_normal(shape).astype(spec.dtype)


def variations(feeds: Feeds, rng: np.random.Generator) -> Iterator[Feeds]:
    """``feeds`` first, then the same with other floats: positive, larger, within 0..1.

    For a model that is not finite or silent on the first: a logarithm, a dead ReLU, an image. The
    last two have full masks instead: a row that may attend to nothing is not a number.
    """
    yield feeds
    for change in (np.abs, lambda values: values * 10, lambda values: rng.random(values.shape)):
        yield {
            name: change(values).astype(values.dtype) if values.dtype.kind == "f" else values
            for name, values in feeds.items()
        }
    for fill in (0, 1):
        yield {
            name: np.full_like(values, fill) if values.dtype.kind == "b" else values
            for name, values in feeds.items()
        }


def _index_limits(graph: onnx.GraphProto) -> dict[str, int]:
    """Graph input -> length of the shortest table that it indexes."""
    tables = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    origin = {value.name: value.name for value in graph.input}
    limits: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _THROUGH and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type in _SAME_TABLE and node.input[0] in tables:
            tables[node.output[0]] = tables[node.input[0]]
        for index, table, axis in _look_ups(node):
            if index in origin and tables.get(table):
                length, name = tables[table][axis], origin[index]
                limits[name] = min(length, limits.get(name, length))
    return limits


def _look_ups(node: onnx.NodeProto) -> Iterator[tuple[str, str, int]]:
    """Indices, table and the table's axis that they count along."""
    if node.op_type == "Gather":
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        yield node.input[1], node.input[0], axis
    elif node.op_type == "EmbedLayerNormalization":
        for index, table in _EMBEDDED.items():
            if index < len(node.input) and table < len(node.input):
                yield node.input[index], node.input[table], 0


def stretched_shapes(
    specs: Sequence[InputSpec], *, known: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]] | None:
    """Shapes with every free axis but the batch made longer; None if there is none.

    A cut that wrote the length of a free axis into the file shows here and nowhere else.
    """
    base = bound_shapes(specs, batch=1, known=known)
    result = {
        spec.name: tuple(
            length + (_SPATIAL // 2 if len(spec.shape) >= 4 else 3)
            if axis and spec.shape[axis] is None
            else length
            for axis, length in enumerate(base[spec.name])
        )
        for spec in specs
    }
    return result if result != base else None
