"""RotaryEmbedding of com.microsoft: pairs of features turned by an angle of their position.

Shape letters: B batch, N heads, S tokens, D head size, R half of the features that are turned.
"""

import torch

from optimizer.bridge.call import Call
from optimizer.bridge.registry import operator
from optimizer.bridge.slots import MICROSOFT
from optimizer.bridge.values import Value


@operator("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(call: Call) -> Value:
    """Turn the features of packed or separate heads."""
    call.require("is_packed_batching", 0, covered=0)
    call.require("scale", 1.0, covered=1.0)
    x, positions, cosines, sines = (call.tensor(position) for position in range(4))
    interleaved = bool(call.attribute("interleaved", 0))
    heads = call.attribute("num_heads", 0)
    return call.write.emit(turn_heads, x, positions, cosines, sines, heads, interleaved=interleaved)


def turn_heads(
    x: torch.Tensor,
    positions: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
    heads: int,
    *,
    interleaved: bool,
) -> torch.Tensor:
    """Return ``x`` with its features turned.

    Args:
        x: ``(B, S, N * D)`` or ``(B, N, S, D)``.
        positions: ``(B, S)``, or ``(1,)``: that of the first token.
        cosines: ``(longest, R)``.
        sines: ``(longest, R)``.
        heads: N of packed heads; 0 if all D features are turned.
        interleaved: Whether pairs are neighbours instead of half of the turned features apart.
    """
    is_packed = x.dim() == 3
    if is_packed:
        count = heads or x.shape[-1] // (2 * cosines.shape[1])
        x = x.reshape(*x.shape[:2], count, -1).transpose(1, 2)
    if positions.dim() == 1:
        places = positions + torch.arange(x.shape[2], device=x.device)
        places = places[None]
    else:
        places = positions
    result = turn(x, cosines[places][:, None], sines[places][:, None], interleaved=interleaved)
    return result.transpose(1, 2).flatten(2) if is_packed else result


def turn(
    x_BNSD: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, *, interleaved: bool
) -> torch.Tensor:
    """Turn the first 2 R features by angles whose cosines and sines broadcast to (B, N, S, R)."""
    half = cosine.shape[-1]
    turned, kept = x_BNSD[..., : 2 * half], x_BNSD[..., 2 * half :]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned[..., :half], turned[..., half:]
    parts = first * cosine - second * sine, second * cosine + first * sine
    joined = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    return torch.cat([joined, kept], -1) if kept.shape[-1] else joined
