"""Sums over units that the criteria and the half-space step need, in one step.

Shape letters: U units.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from optimizer.h2spg.saliency import TINY, Measured, SaliencyCriterion
from optimizer.h2spg.units import UnitLayout


def measure(
    units: UnitLayout,
    criterion: SaliencyCriterion,
    before: Sequence[Tensor],
    direction: Sequence[Tensor] | None = None,
    *,
    redundant_U: Tensor,
) -> Measured:
    """Measure what ``criterion`` needs.

    Args:
        units: The units; their tensors hold the gradients.
        criterion: Says whether gradients are needed.
        before: The tensors of the units before the update: x.
        direction: What the plain optimizer follows: d, where it is needed.
        redundant_U: bool (U,), the units that were chosen to go.
    """
    gradient_dot_U = gradient_square_U = direction_dot_U = direction_square_norm_U = None
    if criterion.needs_gradient:
        gradient_dot_U = units.sums(products(before, [tensor.grad for tensor in units.tensors]))
    if criterion.needs_gradient_square:
        both = products(before, [tensor.grad for tensor in units.tensors])
        gradient_square_U = units.sums(products(both, both))
    if direction is not None:
        direction_dot_U = units.sums(products(before, direction))
        direction_square_norm_U = units.sums(products(direction, direction))
    return Measured(
        square_norm=units.sums(products(before, before)),
        size=units.size,
        gradient_dot=gradient_dot_U,
        gradient_square=gradient_square_U,
        direction_dot=direction_dot_U,
        direction_square_norm=direction_square_norm_U,
        pools=units.pools_without(redundant_U),
    )


def direction_of(
    before: Iterable[Tensor], after: Iterable[Tensor], rates: Iterable[float]
) -> list[Tensor]:
    """What the plain optimizer subtracted, divided by the learning rate: d = (x - x') / lr.

    Taken from what happened, so that it is right for every variant, weight decay included.
    """
    return [
        (old - new) / max(rate, TINY) for old, new, rate in zip(before, after, rates, strict=True)
    ]


def products(left: Iterable[Tensor], right: Iterable[Tensor | None]) -> list[Tensor]:
    """Elementwise, in at least single precision; 0 where the right one is missing."""
    return [
        torch.zeros_like(one) if other is None else _wide(one) * _wide(other)
        for one, other in zip(left, right, strict=True)
    ]


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
