"""Sums over units that the criteria and the half-space step need, in one step.

Shape letters: U units.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from optimizer.h2spg.saliency import TINY, Measured, SaliencyCriterion
from optimizer.h2spg.units import UnitLayout


def measure(units: UnitLayout, criterion: SaliencyCriterion, redundant_U: Tensor) -> Measured:
    """Measure what ``criterion`` needs and can be known before the update.

    Before it, because an update may use the gradients as scratch paper.

    Args:
        units: The units; their tensors hold x and the gradients.
        criterion: Says what is needed.
        redundant_U: bool (U,), the units that were chosen to go.
    """
    tensors = units.tensors
    grads = [tensor.grad for tensor in tensors]
    needs = criterion
    is_needed_now = needs.needs_square_norm and not needs.needs_direction  # else with the direction
    return Measured(
        square_norm=units.square_norms(tensors) if is_needed_now else None,
        size=units.size,
        gradient_dot=units.dots(tensors, grads) if needs.needs_gradient else None,
        gradient_square=(
            units.dots(tensors, grads, squared=True) if needs.needs_gradient_square else None
        ),
        pools=units.pools_without(redundant_U),
    )


class Movement:
    """How the tensors of the units moved in one step of the plain optimizer.

    Taken from what happened, so that it is right for every variant, weight decay included. The
    copy is made once and used in every step.

    Attributes:
        before: x, one for each tensor.
        square_norm: ||x||^2 of each unit: float64 (U,).
        direction_dot: <x, d> of each unit with the direction d, x' = x - lr * d: float64 (U,).
        direction_square_norm: ||d||^2: float64 (U,).
    """

    def __init__(self, units: UnitLayout) -> None:
        """Follow the tensors of ``units``."""
        self._units = units
        self.before: list[Tensor] = []
        nothing_U = units.size.new_zeros(units.num_units)
        self.square_norm = self.direction_dot = self.direction_square_norm = nothing_U

    def begin(self) -> None:
        """Note x."""
        tensors = [tensor.detach() for tensor in self._units.tensors]
        if not _fit(self.before, tensors):
            self.before = [torch.empty_like(tensor) for tensor in tensors]
        if tensors:
            torch._foreach_copy_(self.before, tensors)

    def end(self, rates: Sequence[float]) -> None:
        """Note what the update did, with the learning rate of each tensor."""
        found = self._units.movements(self.before, self._units.tensors, _inverse(rates))
        self.square_norm, self.direction_dot, self.direction_square_norm = found

    def added_to(self, measured: Measured) -> Measured:
        """``measured`` and the sums over the direction."""
        return replace(
            measured,
            square_norm=self.square_norm,
            direction_dot=self.direction_dot,
            direction_square_norm=self.direction_square_norm,
        )


def _inverse(rates: Sequence[float]) -> list[float]:
    """What is not trained does not move, so any factor will do; the same one costs nothing."""
    largest = max(rates, default=0.0)
    return [1 / max(rate or largest, TINY) for rate in rates]


def _fit(buffers: Sequence[Tensor], tensors: Sequence[Tensor]) -> bool:
    """Whether the buffers are for these tensors as they are now: shape, order in memory, type."""
    return len(buffers) == len(tensors) and all(
        buffer.shape == tensor.shape
        and buffer.stride() == tensor.stride()
        and buffer.dtype == tensor.dtype
        and buffer.device == tensor.device
        for buffer, tensor in zip(buffers, tensors, strict=True)
    )
