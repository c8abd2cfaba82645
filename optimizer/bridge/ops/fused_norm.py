"""Normalisations of ONNX Runtime: without means, after a residual sum, after embeddings."""

import torch
from torch.nn import functional

from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.call import Call
from optimizer.bridge.ops.normalization import normalise_from_axis
from optimizer.bridge.registry import operator
from optimizer.bridge.slots import MICROSOFT
from optimizer.bridge.values import Value


@operator("SimplifiedLayerNormalization")
def simplified_layer_norm(call: Call) -> Value | list[Value]:
    """Divide by the root mean square over all axes from ``axis`` on.

    Part of ONNX Runtime although it is in the standard domain; its second output is one over that
    root.
    """
    axis, epsilon = call.attribute("axis", -1) % call.rank(0), call.attribute("epsilon", 1e-5)
    x, scale = call.tensor(0), call.tensor(1)
    static, sizes = x.static_shape, scale.shape()
    if call.num_outputs == 1 and static is not None and static[axis:] == sizes:
        return call.write.emit(functional.rms_norm, x, sizes, scale, epsilon)
    stash = DTYPES[call.attribute("stash_type", 1)]
    return call.write.emit_many(2, with_inverse, x, scale, axis, epsilon, stash)[: call.num_outputs]


def with_inverse(
    x: torch.Tensor, scale: torch.Tensor, axis: int, epsilon: float, stash: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``x`` over its root mean square, scaled, and one over that root as ``stash``."""
    axes = tuple(range(axis % x.dim(), x.dim()))
    wide = x if x.dtype == torch.float64 else x.to(stash)
    inverse = torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
    return (wide * inverse).to(x.dtype) * scale, inverse.to(stash)


@operator("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(call: Call) -> list[Value]:
    """LayerNormalization over the last axis of ``input + skip + bias``.

    Further outputs are mean, inverse deviation, and that sum.
    """
    total, scale, shift = _sum(call, (0, 1, 4)), call.tensor(2), call.optional(3)
    epsilon = call.attribute("epsilon", 1e-12)
    if not any(call.node.output[1:3]):
        result = call.write.emit(layer_norm, total, scale, shift, epsilon)
        return [result, result, result, total][: call.num_outputs]
    settings = (-1, epsilon, torch.float32)
    results = call.write.emit_many(3, normalise_from_axis, total, scale, shift, *settings)
    return [*results, total][: call.num_outputs]


@operator("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_simplified_layer_norm(call: Call) -> list[Value]:
    """The same without means, which are 0 as an output, and without shift."""
    total, scale = _sum(call, (0, 1, 3)), call.tensor(2)
    epsilon = call.attribute("epsilon", 1e-12)
    if not any(call.node.output[1:3]):
        result = call.write.emit(rms_norm, total, scale, epsilon)
        return [result, result, result, total][: call.num_outputs]
    result, inverse = call.write.emit_many(
        2, with_inverse, total, scale, -1, epsilon, torch.float32
    )
    mean = call.write.emit(torch.zeros_like, inverse)
    return [result, mean, inverse, total][: call.num_outputs]


def layer_norm(
    x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor | None, epsilon: float
) -> torch.Tensor:
    """Normalise over the last axis."""
    return functional.layer_norm(x, scale.shape, scale, shift, epsilon)


def rms_norm(x: torch.Tensor, scale: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Divide by the root mean square over the last axis."""
    return functional.rms_norm(x, scale.shape, scale, epsilon)


def _sum(call: Call, positions: tuple[int, ...]) -> Value:
    first, *rest = (call.tensor(position) for position in positions if call.has(position))
    for other in rest:
        first = call.write.emit(torch.add, first, other)
    return first


@operator("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_norm(call: Call) -> list[Value]:
    """Rows of two or three tables picked by ids, summed, normalised over the last axis.

    1. Without position ids a token has its place in the sequence.
    2. Output 1 is the number of tokens that a mask leaves, 0 without a mask.
    3. Output 2 is the sum.
    """
    given = [call.optional(position) for position in range(9)]
    epsilon = call.attribute("epsilon", 1e-12)
    results = call.write.emit_many(3, embed, *given, epsilon=epsilon)
    return results[: call.num_outputs]


def embed(
    ids: torch.Tensor,
    segments: torch.Tensor | None,
    words: torch.Tensor,
    places: torch.Tensor,
    segment_table: torch.Tensor | None,
    scale: torch.Tensor,
    shift: torch.Tensor,
    mask: torch.Tensor | None,
    positions: torch.Tensor | None,
    *,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the normalised sum, the tokens per sample, and the sum.

    Args:
        ids: ``(batch, tokens)`` into ``words``.
        segments: The same into ``segment_table``.
        words: ``(rows, width)``, as the other tables.
        places: Table of positions.
        segment_table: Table of segments.
        scale: ``(width,)``.
        shift: ``(width,)``.
        mask: ``(batch, tokens)``, 1 for tokens that count.
        positions: ``(batch or 1, tokens)`` into ``places``.
        epsilon: Added to the variance.
    """
    rows = places[: ids.shape[1]]
    if positions is not None:
        rows = functional.embedding(positions, places)
    total = functional.embedding(ids, words) + rows
    if segments is not None and segment_table is not None:
        total = total + functional.embedding(segments, segment_table)
    counts = ids.new_zeros(ids.shape[0], dtype=torch.int32)
    if mask is not None:
        counts = (mask == 1).sum(1, dtype=torch.int32)
    return functional.layer_norm(total, scale.shape, scale, shift, epsilon), counts, total
