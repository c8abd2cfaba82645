"""Steps in time: reversal per sample, caches, rotary positions, and layers that carry a state.

Shape letters: B batch, T steps, H heads, K key size, V value size, C channels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value


@operator("ReverseSequence", since=10)
def reverse_sequence(call: Call) -> Value:
    """Reverse the first steps of every sample, as many as its length says."""
    batch, time = call.attribute("batch_axis", 1), call.attribute("time_axis", 0)
    return call.write.emit(reversed_in_time, call.tensor(0), call.tensor(1), batch, time)


def reversed_in_time(x: Tensor, lengths: Tensor, batch_axis: int, time_axis: int) -> Tensor:
    """Return ``x`` with the first ``lengths[b]`` steps of sample ``b`` in reverse."""
    turned = x.movedim((time_axis, batch_axis), (0, 1))
    step = torch.arange(turned.shape[0], device=x.device).unsqueeze(1)
    order = torch.where(step < lengths, lengths - 1 - step, step)
    order = order.reshape(*order.shape, *(1,) * (x.dim() - 2)).expand_as(turned)
    return turned.gather(0, order).movedim((0, 1), (time_axis, batch_axis))


@operator("TensorScatter", since=24)
def tensor_scatter(call: Call) -> Value:
    """Write new steps into a cache, from a place per sample on."""
    circular = call.attribute("mode", "linear") == "circular"
    axis, places = call.attribute("axis", -2), call.optional(2)
    return call.write.emit(written, call.tensor(0), call.tensor(1), places, axis, circular=circular)


def written(
    cache: Tensor, update: Tensor, places: Tensor | None, axis: int, *, circular: bool
) -> Tensor:
    """Return ``cache`` with ``update`` along ``axis`` from ``places[b]`` (default: 0) on."""
    step = torch.arange(update.shape[axis], device=cache.device)
    first = torch.zeros_like(step[:1]) if places is None else places
    place = first.unsqueeze(1) + step
    if circular:
        place = torch.remainder(place, cache.shape[axis])
    shape = [1] * cache.dim()
    shape[0], shape[axis] = place.shape
    return cache.scatter(axis, place.reshape(shape).expand_as(update), update)


@operator("RotaryEmbedding", since=23)
def rotary_embedding(call: Call) -> Value:
    """Turn pairs of features by angles that grow with the position."""
    x, positions = call.tensor(0), call.optional(3)
    return call.write.emit(
        rotated,
        x,
        call.tensor(1),
        call.tensor(2),
        positions,
        call.attribute("num_heads", 0),
        call.attribute("rotary_embedding_dim", 0),
        interleaved=bool(call.attribute("interleaved", 0)),
    )


def rotated(
    x: Tensor,
    cosine: Tensor,
    sine: Tensor,
    positions: Tensor | None,
    heads: int,
    width: int,
    *,
    interleaved: bool,
) -> Tensor:
    """Return ``x`` with its first ``width`` features (default: all) turned.

    Args:
        x: ``(B, H, T, features)``, or ``(B, T, H * features)``.
        cosine: ``(B, T, width / 2)``, or a table that ``positions`` picks rows from.
        sine: The same.
        positions: ``(B, T)``.
        heads: Of an ``x`` with three axes.
        width: How many features of each head.
        interleaved: Whether a pair is two neighbours, not one of each half.
    """
    by_head = x.reshape(*x.shape[:2], heads, -1) if x.dim() == 3 else x
    if positions is not None:
        cosine, sine = (functional.embedding(positions, table) for table in (cosine, sine))
    axis = 2 if x.dim() == 3 else 1
    cosine, sine = cosine.unsqueeze(axis), sine.unsqueeze(axis)
    width = width or by_head.shape[-1]
    turned, rest = by_head[..., :width], by_head[..., width:]
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    parts = (cosine * first - sine * second, sine * first + cosine * second)
    turned = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    return torch.cat((turned, rest), -1).reshape(x.shape)


@operator("CausalConvWithState", since=27)
def causal_conv(call: Call) -> list[Value]:
    """A depthwise convolution that sees the past only, and what the next call must know of it."""
    activation = call.attribute("activation", "none")
    if activation not in {"none", "silu", "swish"}:
        message = f"with activation={activation!r} is not covered"
        raise UnsupportedVariant(message)
    operands = (call.tensor(0), call.tensor(1), call.optional(2), call.optional(3))
    both = call.write.emit_many(2, causal, *operands, swish=activation != "none")
    return both[: call.num_outputs]


def causal(
    x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor | None, *, swish: bool
) -> tuple[Tensor, Tensor]:
    """Return ``(B, C, T)`` and the last inputs ``(B, C, k - 1)``.

    Args:
        x: ``(B, C, T)``.
        weight: ``(C, 1, k)``.
        bias: ``(C,)``.
        past: What came before, ``(B, C, k - 1)``; zeros if left out.
        swish: Whether ``silu`` follows.
    """
    reach = weight.shape[2] - 1
    whole = functional.pad(x, (reach, 0)) if past is None else torch.cat((past, x), 2)
    result = functional.conv1d(whole, weight, bias, groups=x.shape[1])
    state = whole.narrow(2, whole.shape[2] - reach, reach)
    return functional.silu(result) if swish else result, state


@operator("LinearAttention", since=27)
def linear_attention(call: Call) -> list[Value]:
    """Attention as a recurrence over a matrix per head."""
    rule = call.attribute("update_rule", "gated_delta")
    if rule not in {"linear", "gated", "delta", "gated_delta"}:
        message = f"with update_rule={rule!r} is not covered"
        raise UnsupportedVariant(message)
    operands = [call.tensor(position) for position in range(3)]
    optional = [call.optional(position) for position in (3, 4, 5)]
    heads = (call.attribute("q_num_heads"), call.attribute("kv_num_heads"))
    scale = call.attribute("scale", 0.0)
    both = call.write.emit_many(2, attend_by_state, *operands, *optional, heads, scale)
    return both[: call.num_outputs]


def attend_by_state(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past: Tensor | None,
    decay: Tensor | None,
    rate: Tensor | None,
    heads: tuple[int, int],
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Return the outputs ``(B, T, heads * V)`` and the last state.

    Per step, in single precision: ``S = exp(decay) S``; ``S += k (rate * (v - S' k))'``, without
    the correction if there is no ``rate``; the output is ``scale * S' q``.

    Args:
        query: ``(B, T, heads[0] * K)``.
        key: ``(B, T, heads[1] * K)``.
        value: ``(B, T, heads[1] * V)``.
        past: First state, ``(B, heads[1], K, V)``; zeros if left out.
        decay: ``(B, T, heads[1])``, or one per key feature.
        rate: ``(B, T, heads[1] or 1)``.
        heads: Of queries, and of keys and values, which several query heads share.
        scale: 0 for the root of K, inverted.
    """
    batch, steps, features = query.shape
    scale = scale or (features // heads[0]) ** -0.5
    shared = heads[1], heads[0] // heads[1]
    exact = torch.promote_types(query.dtype, torch.float32)
    queries = query.to(exact).reshape(batch, steps, *shared, -1)
    keys, values = (part.to(exact).reshape(batch, steps, heads[1], -1) for part in (key, value))
    sizes = (batch, heads[1], keys.shape[3], values.shape[3])
    state = keys.new_zeros(sizes) if past is None else past.to(exact)
    kept = None if decay is None else decay.to(exact).reshape(batch, steps, heads[1], -1, 1).exp()
    rates = None if rate is None else rate.to(exact).unsqueeze(3)
    outputs = []
    for step in range(steps):
        if kept is not None:
            state = state * kept[:, step]
        new, column = values[:, step], keys[:, step].unsqueeze(3)
        if rates is not None:
            new = rates[:, step] * (new - (state * column).sum(2))
        state = state + column * new.unsqueeze(2)
        outputs.append(torch.matmul(queries[:, step], state))
    result = torch.stack(outputs, 1).reshape(batch, steps, -1) * scale
    return result.to(query.dtype), state.to(query.dtype if past is None else past.dtype)
