"""Several saliencies as one: each relative to the mean of its pool, then added by weight.

Shape letters: U units.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from optimizer.h2spg.saliency import CRITERIA, Measured, SaliencyCriterion, relative_to
from optimizer.saliency_names import parse_saliency


def criterion_of(given: str | Mapping[str, float] | SaliencyCriterion) -> SaliencyCriterion:
    """Find or make a criterion.

    Args:
        given: A name, names with weights as text or mapping (``optimizer.saliency_names``), or a
            criterion, which is returned as it is.

    Raises:
        ValueError: As ``parse_saliency``.
    """
    if isinstance(given, SaliencyCriterion):
        return given
    shares = parse_saliency(given)
    if len(shares) == 1:
        return CRITERIA[next(iter(shares))]
    return mixture(shares)


def mixture(weights: Mapping[str, float]) -> SaliencyCriterion:
    """Add saliencies of different units of measurement.

    In every step each is divided by the mean of its pool over the units that are left; the pools
    keep channels of a layer and whole operators apart. So a weight is a share of the average unit's
    saliency, whatever the magnitude of weights or gradients is at the time.

    Args:
        weights: Name -> weight, of criteria that are relative and not negative.

    Raises:
        ValueError: As ``parse_saliency``.

    Example:
        >>> mixture({"magnitude": 0.5, "taylor": 0.5}).needs_gradient
        True
    """
    shares = parse_saliency(weights)
    parts = [(share, CRITERIA[name]) for name, share in shares.items()]

    def saliency(measured: Measured) -> Tensor:
        pools = measured.pools
        assert pools is not None, "a mixture needs pools"
        return torch.stack(
            [share * relative_to(part.saliency(measured), pools) for share, part in parts]
        ).sum(dim=0)

    return SaliencyCriterion(
        saliency=saliency,
        needs_square_norm=any(part.needs_square_norm for _, part in parts),
        needs_gradient=any(part.needs_gradient for _, part in parts),
        needs_gradient_square=any(part.needs_gradient_square for _, part in parts),
        needs_direction=any(part.needs_direction for _, part in parts),
    )
