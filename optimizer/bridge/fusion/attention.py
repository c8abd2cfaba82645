"""Attention as exporters write it out: two products with a softmax between them.

Shape letters: B batch, H heads, Q queries, K keys, D head size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from optimizer.bridge.fusion.view import (
    GraphView,
    dtype,
    is_call,
    is_inside,
    rank,
    shapes,
    sole_reader,
)
from optimizer.bridge.writer import CHANGES

_MODERATE = 32.0  # float32 still tells scores apart to 2e-6 beside it
_MOVES: tuple[Any, ...] = (
    torch.permute, torch.reshape, torch.unsqueeze, torch.squeeze, torch.index_select,
    functional.embedding,
)  # fmt: skip


@dataclass
class _Scores:
    """``query @ key * scale + mask``."""

    query: fx.Node
    key: fx.Node  # with its last two axes exchanged
    scale: float
    mask: fx.Node | None


def fuse_attention(view: GraphView) -> int:
    """Replace ``softmax(q @ k * scale + mask) @ v`` of three or four axes; count.

    1. A factor may be on the queries, the keys or the scores, and is a number.
    2. Keys and values have the batch and heads of the queries, not ones that are broadcast.
    3. The mask is a constant that leaves every row something, or weights (a bias by distance). Of a
       row that is hidden throughout, by -10000 or minus infinity, the fused kernels have wrong
       gradients, and zeros where the file has no number; a mask that is computed, as for padding,
       might hide one.
    """
    found = 0
    for weights in view.calls(torch.softmax):
        product, axis_count = sole_reader(weights), rank(weights)
        if not is_call(product, torch.matmul) or axis_count not in {3, 4}:
            continue
        if weights.kwargs or weights.args[1] not in {-1, axis_count - 1}:
            continue
        if product.args[0] is not weights or product.args[1] is weights:
            continue
        value = product.args[1]
        scores = _scores(view, weights)
        if scores is None or not _fits(scores, value):
            continue
        operands = (scores.query, scores.key, value, scores.mask)
        view.replace(product, attend, *operands, scores.scale)
        found += 1
    return found


def attend(
    query: torch.Tensor,
    key_BHDK: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """``softmax(query @ key_BHDK * scale + mask) @ value``.

    Args:
        query: ``(B, H, Q, D)`` or ``(B, Q, D)``, as all others.
        key_BHDK: Keys, transposed.
        value: ``(B, H, K, D)``.
        mask: Added to the scores; broadcast to ``(B, H, Q, K)``.
        scale: Factor of the scores.
    """
    key = key_BHDK.transpose(-1, -2)
    if query.dim() == 4:
        return functional.scaled_dot_product_attention(query, key, value, mask, scale=scale)
    if mask is not None and mask.dim() == 3:
        mask = mask.unsqueeze(0)
    query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
    return functional.scaled_dot_product_attention(query, key, value, mask, scale=scale).squeeze(0)


def _scores(view: GraphView, weights: fx.Node) -> _Scores | None:
    node, mask, reader = weights.args[0], None, weights
    if not is_inside(node, reader):
        return None
    if is_call(node, torch.add) and view.with_number(node, torch.add) is None:
        masked = _masked(view, node)
        if masked is None:
            return None
        reader = node
        node, mask = masked
    node, scale = _unscaled(view, node, reader)
    if not is_call(node, torch.matmul) or node.kwargs or len(node.users) != 1:
        return None
    query, key = node.args
    query, query_scale = _unscaled(view, query, node)
    key, key_scale = _unscaled(view, key, node)
    return _Scores(query, key, scale * query_scale * key_scale, mask)


def _masked(view: GraphView, total: Any) -> tuple[fx.Node, fx.Node] | None:
    """The scores and the mask of a sum: the scores are the product, through its factor."""
    if total.kwargs or len(total.args) != 2:
        return None
    for scores, mask in (total.args, total.args[::-1]):
        inner, _ = _unscaled(view, scores, total)
        if not is_call(inner, torch.matmul) or not is_inside(scores, total):
            continue
        wide, added = shapes(scores), shapes(mask)
        if wide is None or added is None or dtype(mask) != dtype(scores):
            return None
        are_fitting = all(_broadcasts(small, big) for small, big in zip(added, wide, strict=True))
        return (scores, mask) if are_fitting and _leaves_something(view, mask) else None
    return None


def _leaves_something(view: GraphView, mask: Any) -> bool:
    """Whether each row has an entry that hides nothing: a constant is looked at, weights do."""
    tensor = view.tensor(mask)
    if tensor is not None and not isinstance(tensor, torch.nn.Parameter):
        is_moderate = tensor.amax(-1).abs() <= _MODERATE
        return not mask.meta.get(CHANGES) and bool(is_moderate.all())
    while is_call(mask, *_MOVES):
        moved = (node for node in mask.args if isinstance(node, fx.Node))
        mask = next((node for node in moved if dtype(node) == dtype(mask)), None)
    return isinstance(view.tensor(mask), torch.nn.Parameter)


def _unscaled(view: GraphView, node: Any, reader: Any) -> tuple[Any, float]:
    """``x`` and the number of ``x * number`` and ``x / number``; else ``node`` and 1."""
    if not is_inside(node, reader):
        return node, 1.0
    parts = view.with_number(node, torch.mul)
    if parts is not None:
        return parts
    parts = view.with_number(node, torch.div)
    if parts is not None and parts[1] != 0.0:
        return parts[0], 1.0 / parts[1]
    return node, 1.0


def _broadcasts(small: tuple[int, ...], big: tuple[int, ...]) -> bool:
    """Whether ``small`` widens to ``big`` without widening that; at least a matrix."""
    if not 2 <= len(small) <= len(big):
        return False
    return all(a in {1, b} for a, b in zip(reversed(small), reversed(big), strict=False))


def _fits(scores: _Scores, value: Any) -> bool:
    query, key, values = shapes(scores.query), shapes(scores.key), shapes(value)
    if query is None or key is None or values is None:
        return False
    if len({dtype(scores.query), dtype(scores.key), dtype(value)}) != 1:
        return False
    return all(
        len(q) == len(k) == len(v)
        and q[:-2] == k[:-2] == v[:-2]
        and q[-1] == k[-2]
        and k[-1] == v[-2]
        for q, k, v in zip(query, key, values, strict=True)
    )
