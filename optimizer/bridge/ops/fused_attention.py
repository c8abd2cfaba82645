"""Attention and MultiHeadAttention of com.microsoft.

What may not be attended to gets a finite number added to its score (``mask_filter_value``), so a
sample that is all padding still mixes its values instead of dividing by zero.

Shape letters: B batch, N heads, S queries, T keys with the past, D head size.
"""

import math

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.slots import MICROSOFT
from optimizer.bridge.values import Value

_MASKED = -10000.0
_NO_CACHE = "with a buffer that past and present share is not covered"


@operator("Attention", domain=MICROSOFT)
def attention(call: Call) -> list[Value]:
    """One projection to query, key and value, then multi-head attention; may have a past."""
    call.require("past_present_share_buffer", 0, covered=0)
    call.require("do_rotary", 0, covered=0)
    if call.has(6):
        raise UnsupportedVariant(_NO_CACHE)
    _refuse_square_mask(call, 3)
    _refuse_past_without_present(call, 4)
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    sizes = tuple(call.attribute("qkv_hidden_sizes", ()))
    projected = call.write.emit(project, x, weight, bias)
    results = call.write.emit_many(
        2,
        attend_projected,
        projected,
        *(call.optional(position) for position in (3, 4, 5)),
        call.attribute("num_heads"),
        sizes,
        _settings(call),
    )
    return results[: call.num_outputs]


def _refuse_square_mask(call: Call, position: int) -> None:
    if call.has(position) and call.rank(position) > 3:
        message = "with a mask of four axes is not covered"
        raise UnsupportedVariant(message)


def _refuse_past_without_present(call: Call, position: int) -> None:
    """The two belong together; runtimes leave a past out whose present nobody asks for."""
    if call.has(position) and not any(call.node.output[1:3]):
        message = "with a past and without the present as an output is not covered"
        raise UnsupportedVariant(message)


def _refuse_unequal_lengths(call: Call) -> None:
    """Runtimes let the last query see all keys where these are more; the text says otherwise."""
    if not call.attribute("unidirectional", 0) or call.has(6) or not call.has(2):
        return
    for binding in (0, 1):
        query, value = call.value(0).shape(binding), call.value(2).shape(binding)
        if query and value and query[1] < value[2 if len(value) == 4 else 1]:
            message = "with unidirectional=1 and more keys than queries is not covered"
            raise UnsupportedVariant(message)


Settings = tuple[float | None, float, bool]  # scale, what is added to masked scores, is causal


def _settings(call: Call) -> Settings:
    scale = call.attribute("scale", 0.0) or None  # 0 is one over the root of the head size
    filtered = call.attribute("mask_filter_value", _MASKED)
    return scale, filtered, bool(call.attribute("unidirectional", 0))


def project(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return ``x @ weight + bias``."""
    return functional.linear(x, weight.t(), bias)


def attend_projected(
    projected: torch.Tensor,
    mask: torch.Tensor | None,
    past: torch.Tensor | None,
    added: torch.Tensor | None,
    heads: int,
    sizes: tuple[int, ...],
    settings: Settings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the result and the keys and values with the past, ``(2, B, N, T, D)``.

    Args:
        projected: ``(B, S, ...)``: queries, keys and values beside each other.
        mask: See ``additive_mask``.
        past: ``(2, B, N, past, D)``, keys and values.
        added: Broadcast to ``(B, N, S, T)``, added to the scores.
        heads: N.
        sizes: Widths of queries, keys and values; a third each if not given.
        settings: Scale, what is added to masked scores, whether later keys are hidden.
    """
    widths = sizes or (projected.shape[-1] // 3,) * 3
    query, key, value = (
        split_heads(part, heads) for part in torch.split(projected, list(widths), -1)
    )
    if past is not None:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    before = 0 if past is None else past.shape[3]
    bias = additive_mask(query, key, mask, added, before, settings)
    result = functional.scaled_dot_product_attention(query, key, value, bias, scale=settings[0])
    # values of another width than keys cannot be stacked with them; nobody asks for that
    present = torch.stack([key, value]) if key.shape == value.shape else key
    return result.transpose(1, 2).flatten(2), present


@operator("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(call: Call) -> list[Value]:
    """Attention of projected queries, keys and values, one by one or packed; may have a past."""
    if call.has(8) or call.has(9):
        raise UnsupportedVariant(_NO_CACHE)
    _refuse_square_mask(call, 4)
    _refuse_past_without_present(call, 6)
    _refuse_unequal_lengths(call)
    asks_scores = call.num_outputs > 3
    results = call.write.emit_many(
        4,
        attend_to,
        *(call.optional(position) for position in range(8)),
        call.attribute("num_heads"),
        _settings(call),
        asks_scores=asks_scores,
    )
    return results[: call.num_outputs]


def attend_to(
    query: torch.Tensor,
    key: torch.Tensor | None,
    value: torch.Tensor | None,
    bias: torch.Tensor | None,
    mask: torch.Tensor | None,
    added: torch.Tensor | None,
    past_key: torch.Tensor | None,
    past_value: torch.Tensor | None,
    heads: int,
    settings: Settings,
    *,
    asks_scores: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the result, keys and values with the past, and the masked scores.

    Args:
        query: ``(B, S, N * D)``; ``(B, S, N, 3, D)`` holds keys and values as well.
        key: ``(B, T, N * D)``, ``(B, N, T, D)``, or ``(B, T, N, 2, D)`` with the values in it.
        value: As ``key``; its D may be another one.
        bias: Of queries, keys and values, one after another; keys and values with an axis for
            their heads have theirs already.
        mask: See ``additive_mask``.
        added: Broadcast to ``(B, N, S, T)``, added to the scores.
        past_key: ``(B, N, past, D)``.
        past_value: ``(B, N, past, D)``.
        heads: N.
        settings: Scale, what is added to masked scores, whether later keys are hidden.
        asks_scores: Whether the scores are an output; if not, something else is returned.
    """
    query, key, value = _unpacked(query, key, value)
    if bias is not None:
        first, second = query.shape[-1], query.shape[-1] + key.shape[-1]
        query = query + bias[:first]
        if key.dim() == 3:
            key, value = key + bias[first:second], value + bias[second:]
    query, key, value = (split_heads(part, heads) for part in (query, key, value))
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    before = 0 if past_key is None else past_key.shape[2]
    shift = additive_mask(query, key, mask, added, before, settings)
    scale = settings[0]
    if asks_scores:
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query * factor) @ key.transpose(-1, -2)
        scores = scores if shift is None else scores + shift
        result = torch.softmax(scores, -1) @ value
    else:
        result = functional.scaled_dot_product_attention(query, key, value, shift, scale=scale)
        scores = result
    return result.transpose(1, 2).flatten(2), key, value, scores


def _unpacked(
    query: torch.Tensor, key: torch.Tensor | None, value: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if key is None:
        query, key, value = (part.flatten(2) for part in query.unbind(3))
    elif value is None:
        key, value = (part.flatten(2) for part in key.unbind(3))
    assert value is not None
    return query, key, value


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return ``(B, S, N * D)`` as ``(B, N, S, D)``; four axes stay."""
    if x.dim() == 4:
        return x
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def additive_mask(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    added: torch.Tensor | None,
    past: int,
    settings: Settings,
) -> torch.Tensor | None:
    """Return what is added to the scores of ``(B, N, S, D)`` and ``(B, N, T, D)``.

    Args:
        query: Queries.
        key: Keys with the past.
        mask: Integers. ``(B,)`` keys that count, from the first on; ``(2 * B,)`` where they end and
            where they begin; ``(B, T)`` or ``(B, S, T)`` above 0 where they count.
        added: Broadcast to ``(B, N, S, T)``.
        past: How many keys precede the first query.
        settings: Its second entry is added where a key does not count.
    """
    _, filtered, is_causal = settings
    total = added
    if mask is not None:
        hidden = ~_counting(mask, key.shape[0], key.shape[2])
        shift = query.new_zeros(()).masked_fill(hidden, filtered)
        total = shift if total is None else total + shift
    if is_causal:
        queries, keys = query.shape[2], key.shape[2]
        later = torch.ones(queries, keys, dtype=torch.bool, device=query.device)
        later = later.triu(1 + past)
        start = query.new_zeros(()) if total is None else total
        total = start.masked_fill(later, torch.finfo(query.dtype).min)
    return total


def _counting(mask: torch.Tensor, batch: int, keys: int) -> torch.Tensor:
    """Return which keys count, broadcast to (B, N, S, T)."""
    if mask.dim() == 1:
        positions = torch.arange(keys, device=mask.device)
        counts = positions < mask[:batch].reshape(-1, 1, 1, 1)
        if mask.shape[0] == 2 * batch and batch:
            counts = counts & (positions >= mask[batch:].reshape(-1, 1, 1, 1))
        return counts
    return (mask > 0)[:, None, None] if mask.dim() == 2 else (mask > 0)[:, None]
