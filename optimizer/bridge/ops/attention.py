"""The Attention operator (from opset 23 on): torch's fused kernel where it computes the same.

Shape letters: B batch, H heads, G key-value heads, Q queries, K keys, D head size.
"""

import math

import torch
from torch.nn import functional

from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.call import Call
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value

_AFTER_MASK, _AFTER_SOFTCAP, _AFTER_SOFTMAX = 2, 1, 3  # values of qk_matmul_output_mode


@operator("Attention")
def attention(call: Call) -> list[Value]:
    """Scaled dot-product attention with masks, a cache, grouped heads, windows and softcap."""
    given = [call.optional(position) for position in range(7)]
    heads = (call.attribute("q_num_heads"), call.attribute("kv_num_heads"))
    scale, softcap = call.attribute("scale"), call.attribute("softcap", 0.0)
    window = (call.attribute("left_window_size", -1), call.attribute("right_window_size", -1))
    is_causal = bool(call.attribute("is_causal", 0))
    mode = call.attribute("qk_matmul_output_mode", 0) if call.num_outputs > 3 else None
    precision = call.attribute("softmax_precision")
    kind = None if precision is None else DTYPES[precision]
    results = call.write.emit_many(
        4,
        attend,
        *given,
        heads,
        scale,
        softcap,
        window,
        is_causal=is_causal,
        mode=mode,
        precision=kind,
    )
    return results[: call.num_outputs]


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    past_key: torch.Tensor | None,
    past_value: torch.Tensor | None,
    lengths: torch.Tensor | None,
    heads: tuple[int | None, int | None],
    scale: float | None,
    softcap: float,
    window: tuple[int, int],
    *,
    is_causal: bool,
    mode: int | None,
    precision: torch.dtype | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the result, the keys and values with the cache, and the scores that ``mode`` asks for.

    Args:
        query: ``(B, H, Q, D)``, or ``(B, Q, H * D)`` with ``heads``.
        key: ``(B, G, K, D)`` or flat; H is a multiple of G.
        value: ``(B, G, K, D)`` or flat; its D may be another one.
        mask: Boolean (what may be attended to) or added to the scores; broadcast to (B, H, Q, K).
        past_key: Keys that come before ``key``.
        past_value: Values that come before ``value``.
        lengths: ``(B,)``, keys per sample that are no padding.
        heads: H and G of flat inputs.
        scale: Factor of the scores; one over the root of D if not given.
        softcap: Limit that scores approach; 0 for none.
        window: Keys before and after the own position that are visible; -1 is all.
        is_causal: Whether later keys are hidden.
        mode: Which scores to return; ``None`` for any.
        precision: Element type of the softmax; that of ``query`` if not given.
    """
    query_BHQD = _split_heads(query, heads[0])
    key_BGKD = _cached(_split_heads(key, heads[1]), past_key)
    value_BGKD = _cached(_split_heads(value, heads[1]), past_value)
    bias = _bias(query_BHQD, key_BGKD, mask, past_key, lengths, (*window, is_causal))
    repeats = query_BHQD.shape[1] // key_BGKD.shape[1]
    key_BHKD, value_BHKD = _repeated(key_BGKD, repeats), _repeated(value_BGKD, repeats)
    scale = 1 / math.sqrt(query_BHQD.shape[-1]) if scale is None else scale
    if mode is None and not softcap and precision in {None, query.dtype}:
        result = functional.scaled_dot_product_attention(
            query_BHQD, key_BHKD, value_BHKD, bias, scale=scale
        )
        scores = result
    else:
        weights, scores = _weights(query_BHQD, key_BHKD, bias, scale, softcap, mode, precision)
        result = weights @ value_BHKD
    if query.dim() == 3:
        result = result.transpose(1, 2).flatten(2)
    return result, key_BGKD, value_BGKD, scores


def _cached(new: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
    return new if past is None else torch.cat([past, new], 2)


def _repeated(x_BGKD: torch.Tensor, repeats: int) -> torch.Tensor:
    return x_BGKD.repeat_interleave(repeats, 1) if repeats > 1 else x_BGKD


def _split_heads(x: torch.Tensor, heads: int | None) -> torch.Tensor:
    if x.dim() == 4 or heads is None:
        return x
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _bias(
    query_BHQD: torch.Tensor,
    key_BGKD: torch.Tensor,
    mask: torch.Tensor | None,
    past_key: torch.Tensor | None,
    lengths: torch.Tensor | None,
    visible: tuple[int, int, bool],
) -> torch.Tensor | None:
    """Return what is added to the scores: 0 or the mask's value, -inf where nothing is seen."""
    queries, keys = query_BHQD.shape[2], key_BGKD.shape[2]
    offset: int | torch.Tensor = 0 if past_key is None else past_key.shape[2]
    if past_key is None and lengths is not None:
        offset = (lengths - queries).reshape(-1, 1, 1, 1)
    positions = torch.arange(queries, device=query_BHQD.device).reshape(-1, 1) + offset
    allowed = _in_sight(positions, torch.arange(keys, device=query_BHQD.device), visible)
    if lengths is not None:
        present = torch.arange(keys, device=query_BHQD.device) < lengths.reshape(-1, 1, 1, 1)
        allowed = present if allowed is None else allowed & present
    if mask is not None and mask.shape[-1] < keys:
        hidden = False if mask.dtype == torch.bool else -math.inf
        mask = functional.pad(mask, (0, keys - mask.shape[-1]), value=hidden)
    if mask is not None and mask.dtype == torch.bool:
        allowed = mask if allowed is None else mask & allowed
        mask = None
    if allowed is None:
        return mask
    start = query_BHQD.new_zeros(()) if mask is None else mask
    return start.masked_fill(~allowed, -math.inf)


def _in_sight(
    positions: torch.Tensor, keys: torch.Tensor, visible: tuple[int, int, bool]
) -> torch.Tensor | None:
    """Return which keys a query may see by their distance, ``None`` for all."""
    before, after, is_causal = visible
    after = 0 if is_causal else after
    distance = positions - keys
    if before < 0 and after < 0:
        return None
    if before < 0:
        return distance >= -after
    return distance <= before if after < 0 else (distance <= before) & (distance >= -after)


def _weights(
    query_BHQD: torch.Tensor,
    key_BHKD: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float,
    mode: int | None,
    precision: torch.dtype | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention weights and the scores at the point that ``mode`` names."""
    root = math.sqrt(scale)
    scores = (query_BHQD * root) @ (key_BHKD * root).transpose(-1, -2)
    wanted = scores
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    wanted = scores if mode == _AFTER_SOFTCAP else wanted
    scores = scores if bias is None else scores + bias
    wanted = scores if mode == _AFTER_MASK else wanted
    weights = torch.softmax(scores, -1, dtype=precision).to(scores.dtype)
    weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0)
    return weights, weights if mode == _AFTER_SOFTMAX else wanted
