"""The paper's hierarchical search: least salient first, never into an invalid network.

Sees numbers and one callable that knows the graph. A budget in MACs or bytes is met by the caller's
own ``choose``, not here (``optimizer.bridge.binding``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Choose = Callable[[Tensor, Tensor, float], Tensor]
"""``choose(saliency_U, removed_U, fraction)`` -> bool (U,): what goes from now on.

On the CPU: saliency float64 (U,), removed bool (U,). ``fraction`` (0..1] is the share of the budget
to be met. The answer contains all of ``removed_U``.
"""


@dataclass(frozen=True)
class Partition:
    """Outcome of a search: every unit is in exactly one of the two, in order of saliency."""

    redundant: tuple[int, ...]
    important: tuple[int, ...]


def partition(
    saliency: Sequence[float],
    num_redundant: int,
    is_valid: Callable[[frozenset[int]], bool],
    *,
    removed: frozenset[int] = frozenset(),
) -> Partition:
    """Choose ``num_redundant`` units greedily (PAPER.md 1.3, phase 2).

    1. Units are tried by rising saliency; equal ones by number.
    2. A unit joins the redundant ones if the network without all of them and without it is valid;
       otherwise it is skipped and stays important.
    3. ``removed`` units are redundant from the start and count.
    4. Fewer are returned where no more fit: what can be reached is the length of ``redundant``.

    Example:
        >>> partition([0.3, 0.1, 0.2], 2, lambda gone: gone != {1, 2})
        Partition(redundant=(1, 0), important=(2,))
    """
    redundant = sorted(removed, key=lambda unit: (saliency[unit], unit))
    important = []
    for unit in sorted(range(len(saliency)), key=lambda unit: (saliency[unit], unit)):
        if unit in removed:
            continue
        if len(redundant) < num_redundant and is_valid(frozenset([*redundant, unit])):
            redundant.append(unit)
        else:
            important.append(unit)
    return Partition(tuple(redundant), tuple(important))


def choose_count(num_redundant: int, is_valid: Callable[[frozenset[int]], bool]) -> Choose:
    """Make the ``choose`` of the paper: K = ``num_redundant`` units, whatever they cost."""

    def choose(saliency_U: Tensor, removed_U: Tensor, fraction: float) -> Tensor:
        found = partition(
            saliency_U.tolist(),
            round(num_redundant * fraction),
            is_valid,
            removed=frozenset(removed_U.nonzero().flatten().tolist()),
        )
        chosen_U = torch.zeros(len(saliency_U), dtype=torch.bool)
        chosen_U[list(found.redundant)] = True
        return chosen_U

    return choose
