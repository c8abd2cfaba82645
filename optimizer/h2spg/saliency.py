"""How much a unit matters: one function per criterion, low = redundant.

Pure functions of per-unit vectors. Measuring them is the optimizer's business, deciding on them
that of ``search``.

Shape letters: U units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-12
_PAPER_FLOOR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Pools:
    """Which units a saliency is relative to.

    Attributes:
        of_unit: int64 (U,), the pool of each unit.
        order: int64 (U,), the units pool by pool.
        offsets: int64, where each pool begins among them, and the end; known beforehand, so that no
            step has to wait for the device.
        counted: bool (U,), the units that make up the mean of their pool: those not removed yet.
    """

    of_unit: Tensor
    order: Tensor
    offsets: Tensor
    counted: Tensor

    @classmethod
    def of(cls, pool_U: Tensor, counted_U: Tensor) -> "Pools":
        """The pools with the numbers int64 ``pool_U``; waits for the device once."""
        order_U = torch.argsort(pool_U, stable=True)
        sizes = torch.bincount(pool_U)
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return cls(of_unit=pool_U, order=order_U, offsets=offsets, counted=counted_U)

    def sums(self, value_U: Tensor) -> Tensor:
        """Sum over the units of each pool, in one fixed order on every device."""
        return torch.segment_reduce(value_U[self.order], "sum", offsets=self.offsets)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Sums over the elements x of each unit in one step; all float64 (U,).

    Attributes:
        square_norm: ||x||^2; where a criterion needs it, as all others but the size.
        size: Number of elements.
        gradient_dot: <x, g> with the gradient g.
        gradient_square: <x^2, g^2>, elementwise squares.
        direction_dot: <x, d> with the direction d of the plain optimizer, x <- x - lr * d.
        direction_square_norm: ||d||^2.
        pools: Which units are compared with each other.
    """

    square_norm: Tensor | None = None
    size: Tensor
    gradient_dot: Tensor | None = None
    gradient_square: Tensor | None = None
    direction_dot: Tensor | None = None
    direction_square_norm: Tensor | None = None
    pools: Pools | None = None


@dataclass(frozen=True, kw_only=True)
class SaliencyCriterion:
    """A criterion and what it needs measured.

    Attributes:
        saliency: Maps what was measured to float64 (U,).
        needs_square_norm: Whether it reads ``square_norm``.
        needs_gradient: Whether it reads ``gradient_dot``.
        needs_gradient_square: Whether it reads ``gradient_square``.
        needs_direction: Whether it reads the two sums over the direction.
        is_relative: Whether a value means something only beside others of its pool, so that it is
            to be divided by their mean before pools are compared.
    """

    saliency: Callable[[Measured], Tensor]
    needs_square_norm: bool = True
    needs_gradient: bool = False
    needs_gradient_square: bool = False
    needs_direction: bool = False
    is_relative: bool = True


def magnitude(measured: Measured) -> Tensor:
    """||x|| / sqrt(n) over all n elements of a unit: its rows, columns and normalisations.

    Root mean square, not norm / n: the latter falls with the size of a unit whose weights are
    scaled alike, and would call everything large redundant (PAPER.md 1.3).
    """
    return (_given(measured.square_norm) / measured.size.clamp_min(1)).sqrt()


def taylor_first(measured: Measured) -> Tensor:
    """|<x, g>|: how much the loss changes, to first order, when the unit goes."""
    return _given(measured.gradient_dot).abs()


def taylor_second(measured: Measured) -> Tensor:
    """0.5 * <x, g>^2: the second-order term with the empirical Fisher for the Hessian."""
    return 0.5 * _given(measured.gradient_dot).square()


def fisher(measured: Measured) -> Tensor:
    """<x, g>^2; averaged over steps, the empirical Fisher along the unit's own direction.

    The gradient is that of a batch, not of a sample, so that what is measured shrinks with the
    batch. Twice ``taylor_second``: relative to their pools, the two are the same.
    """
    return _given(measured.gradient_dot).square()


def fisher_diagonal(measured: Measured) -> Tensor:
    """Sum of x_i^2 * g_i^2: the same with the diagonal of the Fisher matrix alone.

    Elements of one unit cannot cancel each other, and no correlation between them is seen.
    """
    return _given(measured.gradient_square)


def cosine(measured: Measured) -> Tensor:
    """1 - cos(x, d): 0 where the step of the plain optimizer leads straight to the origin."""
    return 1 - _cosine(measured)


def paper(measured: Measured) -> Tensor:
    """Minus the redundancy score of DHSPG (PAPER.md 1.3, the sign is Secateur's).

    ``0.5 * cos / ||cos|| + 0.5 * u / ||u||`` with ``cos = cos(-x, -d)``,
    ``u = 1 / (||x|| / n + 1e-6)``; the outer norms run over all units.
    """
    cos_U = _cosine(measured)
    mean_U = _given(measured.square_norm).sqrt() / measured.size.clamp_min(1)
    inverse_U = 1 / (mean_U + _PAPER_FLOOR)
    return -0.5 * (_unit_length(cos_U) + _unit_length(inverse_U))


def hesso(measured: Measured) -> Tensor:
    """The importance of HESSO (PAPER.md 1.6): five parts, each a fifth.

    ``||x||``, ``||x|| / n``, ``cos(x, d) + 1``, ``|<x, d>|`` and ``0.5 * <x, d>^2``, each divided
    by its norm over all units. The sign of the cosine is that of the released code: there a step
    that leads *away* from the origin makes a unit redundant, which ``paper`` sees the other way.
    """
    length_U, dot_U = _given(measured.square_norm).sqrt(), _given(measured.direction_dot)
    parts = (
        length_U,
        length_U / measured.size.clamp_min(1),
        _cosine(measured) + 1,
        dot_U.abs(),
        0.5 * dot_U.square(),
    )
    return torch.stack([_unit_length(part) for part in parts]).sum(dim=0) / len(parts)


def _of_gradient(saliency: Callable[[Measured], Tensor]) -> SaliencyCriterion:
    return SaliencyCriterion(saliency=saliency, needs_square_norm=False, needs_gradient=True)


CRITERIA: Mapping[str, SaliencyCriterion] = {
    "magnitude": SaliencyCriterion(saliency=magnitude),
    "taylor": _of_gradient(taylor_first),
    "taylor-second": _of_gradient(taylor_second),
    "fisher": _of_gradient(fisher),
    "fisher-diagonal": SaliencyCriterion(
        saliency=fisher_diagonal, needs_square_norm=False, needs_gradient_square=True
    ),
    "cosine": SaliencyCriterion(saliency=cosine, needs_direction=True),
    "paper": SaliencyCriterion(saliency=paper, needs_direction=True, is_relative=False),
    "hesso": SaliencyCriterion(saliency=hesso, needs_direction=True, is_relative=False),
}


def relative_to_pool(saliency_U: Tensor, pool_U: Tensor, counted_U: Tensor) -> Tensor:
    """Divide each saliency by the mean of its pool, so that pools can be compared.

    Args:
        saliency_U: float64 (U,), not negative.
        pool_U: int64 (U,), the pool of each unit.
        counted_U: bool (U,), the units that make up the mean: those not removed yet.

    Returns:
        float64 (U,); 1 is an average unit of its pool. A pool whose mean is 0 stays 0.
    """
    return relative_to(saliency_U, Pools.of(pool_U, counted_U))


def relative_to(saliency_U: Tensor, pools: Pools) -> Tensor:
    """The same with pools that were sorted beforehand; never waits for the device."""
    if not len(saliency_U):
        return saliency_U
    counted_U = pools.counted.to(saliency_U.dtype)
    mean_of_pool = pools.sums(saliency_U * counted_U) / pools.sums(counted_U).clamp_min(1)
    return saliency_U / mean_of_pool.clamp_min(TINY)[pools.of_unit]


def _cosine(measured: Measured) -> Tensor:
    dot_U = _given(measured.direction_dot)
    lengths_U = (_given(measured.square_norm) * _given(measured.direction_square_norm)).sqrt()
    return dot_U / lengths_U.clamp_min(TINY)


def _unit_length(vector_U: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector_U)
    return vector_U / length.clamp_min(TINY)


def _given(vector_U: Tensor | None) -> Tensor:
    assert vector_U is not None, "the criterion needs a sum that was not measured"
    return vector_U
