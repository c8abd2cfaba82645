"""What the search is told about whole operators: how much the loss rises without each.

The criterion of H2SPG compares structures by their weights; that says little about structures of
different depth and shape. There are few of them, so each can simply be tried.

Shape letters: U units.
"""

from collections.abc import Callable

from torch import Tensor

from optimizer.h2spg.saliency import relative_to_pool
from optimizer.h2spg.search import Choose


def with_ablation(
    choose: Choose,
    operators_U: Tensor,
    pool_U: Tensor,
    ablate: Callable[[Tensor], Tensor],
) -> Choose:
    """Replace the saliency of operators by their ablation loss before ``choose`` sees it.

    Relative to the mean over the operators that are left, as a channel's saliency is relative to
    the mean of its group: below 1 means less needed than the average of its kind.

    Args:
        choose: Decides; sees channels and operators together.
        operators_U: Bool (U,), the units that are whole operators.
        pool_U: int64 (U,), the pools whose means are compared.
        ablate: Maps the units to try, bool (U,), to their loss rises, float64 (U,).
    """

    def choose_with_ablation(saliency_U: Tensor, removed_U: Tensor, fraction: float) -> Tensor:
        tried_U = operators_U & ~removed_U
        if tried_U.any():
            relative_U = relative_to_pool(ablate(tried_U), pool_U, tried_U)
            saliency_U = relative_U.where(operators_U, saliency_U)
        return choose(saliency_U, removed_U, fraction)

    return choose_with_ablation
