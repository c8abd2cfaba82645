"""Operators whose result depends on which values occur: Unique, TfIdfVectorizer."""

import torch
from torch import Tensor

from optimizer.bridge.call import Call
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value


@operator("Unique", since=11)
def unique(call: Call) -> list[Value]:
    """Distinct elements or slices, where they first occur, and how often.

    Reads the data, so it synchronises; the elements are picked, so gradients reach them.
    """
    axis, is_sorted = call.attribute("axis"), bool(call.attribute("sorted", 1))
    found = call.write.emit_many(4, distinct, call.tensor(0), axis, is_sorted=is_sorted)
    return found[: call.num_outputs]


def distinct(
    x: Tensor, axis: int | None, *, is_sorted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the elements, their first positions, which one each of ``x`` is, and their counts."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    compared = x.detach()
    if x.dtype in {torch.float16, torch.bfloat16}:  # torch sorts these as single precision
        compared = compared.float()
    _, which, counts = torch.unique(compared, return_inverse=True, return_counts=True, dim=axis)
    position = torch.arange(len(which), device=x.device)
    first = torch.full_like(counts, len(which)).scatter_reduce(0, which, position, "amin")
    if not is_sorted:
        order = torch.argsort(first)
        which = torch.argsort(order)[which]
        first, counts = first[order], counts[order]
    return x.index_select(axis, first), first, which, counts


@operator("TfIdfVectorizer", since=9)
def n_grams(call: Call) -> Value:
    """How often each known n-gram of integers occurs, optionally weighted."""
    if call.attribute("pool_strings"):
        message = "with n-grams of strings is not covered"
        raise UnsupportedVariant(message)
    total = None
    places = tuple(call.attribute("ngram_indexes"))
    weights = tuple(call.attribute("weights", ())) or (1.0,) * len(places)
    mode, skips = call.attribute("mode"), call.attribute("max_skip_count")
    shortest, longest = call.attribute("min_gram_length"), call.attribute("max_gram_length")
    for length, pool in enumerate(_pools(call), start=1):
        own, places = places[: len(pool)], places[len(pool) :]
        if pool and shortest <= length <= longest:
            width = max(call.attribute("ngram_indexes")) + 1
            part = call.write.emit(count_n_grams, call.tensor(0), pool, own, width, skips)
            total = part if total is None else call.write.emit(torch.add, total, part)
    if total is None:
        message = "without an n-gram of a length that is counted is not covered"
        raise UnsupportedVariant(message)
    if mode == "TF":
        return total
    by_place = [0.0] * (max(call.attribute("ngram_indexes")) + 1)
    for place, weight in zip(call.attribute("ngram_indexes"), weights, strict=True):
        by_place[place] = weight
    return call.write.emit(weighted, total, tuple(by_place), once=mode == "IDF")


def _pools(call: Call) -> list[tuple[tuple[int, ...], ...]]:
    """The n-grams of length 1, 2, ..., which the file lists end to end."""
    numbers, starts = tuple(call.attribute("pool_int64s")), call.attribute("ngram_counts")
    pools = []
    for length, start in enumerate(starts, start=1):
        end = starts[length] if length < len(starts) else len(numbers)
        pools.append(tuple(numbers[at : at + length] for at in range(start, end, length)))
    return pools


def count_n_grams(
    x: Tensor, pool: tuple[tuple[int, ...], ...], places: tuple[int, ...], width: int, skips: int
) -> Tensor:
    """Count the n-grams ``pool`` in ``(time,)`` or ``(batch, time)``, at ``places`` of ``width``.

    The elements of an n-gram may be up to ``skips`` others apart, the same number everywhere.
    """
    grams = torch.tensor(pool, dtype=x.dtype, device=x.device)
    length = grams.shape[1]
    counts = torch.zeros(*x.shape[:-1], len(pool), device=x.device)
    for step in range(1, skips + 2 if length > 1 else 2):
        reach = (length - 1) * step + 1
        if reach <= x.shape[-1]:
            cut = x.unfold(-1, reach, 1)[..., ::step]
            counts = counts + (cut.unsqueeze(-2) == grams).all(-1).sum(-2)
    at = torch.tensor(places, device=x.device)
    return counts.new_zeros(*x.shape[:-1], width).index_add(-1, at, counts)


def weighted(counts: Tensor, weights: tuple[float, ...], *, once: bool) -> Tensor:
    """Multiply with a weight per n-gram; ``once``: whether it occurs, not how often."""
    factors = torch.tensor(weights, dtype=counts.dtype, device=counts.device)
    return ((counts > 0).to(counts.dtype) if once else counts) * factors
