"""GroupQueryAttention of com.microsoft: several query heads for one head of keys and values.

Samples are padded on the right, and each says how many tokens it has with its past.

Shape letters: B batch, N query heads, G key-value heads, S new tokens, P past tokens of the longest
sample, C keys in the cache after this step, D head size.
"""

import math
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, only
from optimizer.bridge.ops.fused_attention import split_heads
from optimizer.bridge.ops.fused_rotary import turn
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.slots import MICROSOFT
from optimizer.bridge.values import Value

_AFTER_SOFTMAX = 2  # of qk_output
_UNCOVERED = {
    12: "with a quantised cache",
    13: "with a quantised cache",
    14: "with norms of queries and keys inside",
    15: "with norms of queries and keys inside",
    16: "with query_seqlens",
}


class GroupedSettings(NamedTuple):
    """Attributes of the operator; a plain tuple of them in the graph, which is printed as code.

    Attributes:
        heads: N.
        groups: G.
        scale: Factor of the scores; ``None`` for one over the root of D.
        softcap: Limit that scores approach; 0 for none.
        window: How many keys a query sees, its own included; -1 for all before it.
        is_causal: Whether later keys are hidden.
        is_smooth: Whether one is added to the sum of the softmax, as a sink of 0 does.
        rotates: Whether queries and keys are turned by their positions.
        interleaved: How pairs of features lie, see ``fused_rotary``.
        scores: 1 or 2 for scores before or after the softmax as an output, 0 for none.
    """

    heads: int
    groups: int
    scale: float | None
    softcap: float
    window: int
    is_causal: bool
    is_smooth: bool
    rotates: bool
    interleaved: bool
    scores: int


@operator("GroupQueryAttention", domain=MICROSOFT)
def grouped_query_attention(call: Call) -> list[Value]:
    """Causal attention with a cache of keys and values, and rotary positions inside."""
    for position, what in _UNCOVERED.items():
        if call.has(position):
            message = f"{what} is not covered"
            raise UnsupportedVariant(message)
    call.require("sliding_window_cache", 0, covered=0)
    for name in ("k_quant_type", "v_quant_type"):
        call.require(name, "NONE", covered="NONE")
    settings = GroupedSettings(
        heads=call.attribute("num_heads"),
        groups=call.attribute("kv_num_heads"),
        scale=call.attribute("scale", 0.0) or None,
        softcap=call.attribute("softcap", 0.0),
        window=call.attribute("local_window_size", -1),
        is_causal=bool(call.attribute("causal", 1)),
        is_smooth=call.attribute("smooth_softmax", -1) == 1,
        rotates=bool(call.attribute("do_rotary", 0)),
        interleaved=bool(call.attribute("rotary_interleaved", 0)),
        scores=call.attribute("qk_output", 0),
    )
    tensors = [call.optional(position) for position in (0, 1, 2, 3, 4, 5)]
    rest = [call.optional(position) for position in (7, 8, 9, 10, 11)]
    results = call.write.emit_many(
        4, attend_in_groups, *tensors, call.numbers(6), *rest, tuple(settings)
    )
    return results[: call.num_outputs]


def attend_in_groups(
    query: torch.Tensor,
    key: torch.Tensor | None,
    value: torch.Tensor | None,
    past_key: torch.Tensor | None,
    past_value: torch.Tensor | None,
    last: torch.Tensor,
    total: HostValue,
    cosines: torch.Tensor | None,
    sines: torch.Tensor | None,
    places: torch.Tensor | None,
    added: torch.Tensor | None,
    sinks: torch.Tensor | None,
    attributes: tuple[Any, ...],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the result, the cache of keys and of values, and the scores that settings ask for.

    Args:
        query: ``(B, S, N * D)``, or ``(B, S, (N + 2 * G) * D)`` with keys and values behind it.
        key: ``(B, S, G * D)``.
        value: ``(B, S, G * D)``.
        past_key: ``(B, G, P, D)``.
        past_value: ``(B, G, P, D)``.
        last: ``(B,)`` or ``(B, 1)``, tokens of each sample with its past, minus one.
        total: Tokens of the longest sample with its past; S if this is the first step.
        cosines: ``(longest, R)``, see ``fused_rotary``.
        sines: ``(longest, R)``.
        places: ``(B, S)``, positions of the new tokens; of the first step only the first counts.
        added: Broadcast to ``(B, N, S, total)``, added to the scores.
        sinks: ``(N,)``, scores of a key without a value.
        attributes: ``GroupedSettings``.
    """
    settings = GroupedSettings(*attributes)
    query, key, value = _separate(query, key, value, settings)
    tokens, longest = query.shape[2], int(only(total))
    counts = last.reshape(-1, 1).to(torch.int64) + 1
    start = torch.zeros_like(counts) if tokens == longest else counts - tokens
    own = start + torch.arange(tokens, device=query.device)
    if settings.rotates and cosines is not None and sines is not None:
        if places is not None:
            first = places.reshape(-1)[:1].reshape(1, 1) + torch.arange(tokens, device=query.device)
            turned = first if tokens == longest else places
        else:
            turned = own.clamp(0, cosines.shape[0] - 1)  # of padding, which nothing reads
        angles = cosines[turned][:, None], sines[turned][:, None]
        query = turn(query, *angles, interleaved=settings.interleaved)
        key = turn(key, *angles, interleaved=settings.interleaved)
    key, value = _cached(past_key, key, start, longest), _cached(past_value, value, start, longest)
    hidden = _hidden(own, counts, key.shape[2], settings)
    result, scores = _mixed(query, key, value, hidden, added, sinks, settings)
    return result.transpose(1, 2).flatten(2), key, value, scores


def _separate(
    query: torch.Tensor,
    key: torch.Tensor | None,
    value: torch.Tensor | None,
    settings: GroupedSettings,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    heads, groups = settings.heads, settings.groups
    if key is not None and value is not None:
        parts = (query, key, value)
        counts = (heads, groups, groups)
        query, key, value = (split_heads(x, n) for x, n in zip(parts, counts, strict=True))
        return query, key, value
    packed = split_heads(query, heads + 2 * groups)
    query, key, value = torch.split(packed, [heads, groups, groups], 1)
    return query, key, value


def _cached(
    past: torch.Tensor | None, new: torch.Tensor, start: torch.Tensor, longest: int
) -> torch.Tensor:
    """Put the new rows behind the past ones, sample by sample; rows after its last are arbitrary.

    Args:
        past: ``(B, G, P, D)``.
        new: ``(B, G, S, D)``.
        start: ``(B, 1)``, past rows of each sample.
        longest: Rows that the result has at least.
    """
    if past is None:
        return new
    rows, tokens = past.shape[2], new.shape[2]
    index = torch.arange(max(rows, longest), device=new.device)
    moved = (index - start).clamp(0, tokens - 1) + rows
    picked = torch.where(index < start, index.clamp(max=max(rows - 1, 0)), moved)
    joined = torch.cat([past, new], 2)
    spread = picked[:, None, :, None].expand(-1, joined.shape[1], -1, joined.shape[3])
    return joined.gather(2, spread)


def _hidden(
    own: torch.Tensor, counts: torch.Tensor, keys: int, settings: GroupedSettings
) -> torch.Tensor:
    """Return which keys a query does not see, ``(B, 1, S, C)``."""
    index = torch.arange(keys, device=own.device)
    place = own[:, None, :, None]
    if not settings.is_causal:
        return (index >= counts[:, :, None, None]).expand(-1, -1, own.shape[1], -1)
    hidden = index > place
    if settings.window > 0:
        hidden = hidden | (index <= place - settings.window)
    return hidden


def _mixed(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    hidden: torch.Tensor,
    added: torch.Tensor | None,
    sinks: torch.Tensor | None,
    settings: GroupedSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    repeats = settings.heads // settings.groups
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    start = query.new_zeros(()) if added is None else added
    if added is not None and added.shape[-1] < key.shape[2]:
        start = functional.pad(added, (0, key.shape[2] - added.shape[-1]))
    shift = start.masked_fill(hidden, -math.inf)
    is_plain = not settings.softcap and not settings.is_smooth and sinks is None
    if is_plain and not settings.scores:
        result = functional.scaled_dot_product_attention(
            query, key, value, shift, scale=settings.scale
        )
        return result, result
    factor = 1 / math.sqrt(query.shape[-1]) if settings.scale is None else settings.scale
    scores = (query * factor) @ key.transpose(-1, -2)
    if settings.softcap:
        scores = torch.tanh(scores / settings.softcap) * settings.softcap
    scores = scores + shift
    weights = _softmax(scores, sinks, is_smooth=settings.is_smooth)
    if settings.scores == _AFTER_SOFTMAX:
        return weights @ value, weights
    return weights @ value, scores.masked_fill(hidden, 0.0)


def _softmax(scores: torch.Tensor, sinks: torch.Tensor | None, *, is_smooth: bool) -> torch.Tensor:
    """Softmax over the last axis beside one score more, which gets no column of its own."""
    if sinks is None and not is_smooth:
        return torch.softmax(scores, -1)
    extra = scores.new_zeros(1) if sinks is None else sinks
    column = extra.reshape(1, -1, 1, 1).expand(scores.shape[0], scores.shape[1], scores.shape[2], 1)
    return torch.softmax(torch.cat([scores, column], -1), -1)[..., :-1]
