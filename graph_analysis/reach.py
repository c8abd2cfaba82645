"""How much of a model can go at most, by taking out all that may go and counting what is left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import Group, GroupKind
from graph_analysis.solution import Solution
from graph_analysis.solving import Saliency, Selection

_ORDERS: tuple[Callable[[Group], int], ...] = (
    lambda group: group.macs,
    lambda group: group.parameters,
)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What remains at least, as shares of the whole (0..1), each by a solution of its own.

    Erasing one branch of a joint may rule out the other, so that these are what a greedy choice
    reaches, costliest structures first, and not a bound.
    """

    macs: float
    parameters: float
    bytes: float
    activation_bytes: float

    def to_dict(self) -> Mapping[str, float]:
        """The shares that can go, JSON-compatible."""
        return {name: round(1 - value, 6) for name, value in vars(self).items()}


def reach_of(analysis: Analysis, *, multiple: int | None = None) -> Reach:
    """Remove everything that may go under the options of an analysis.

    Args:
        analysis: Of the model.
        multiple: Kept widths are multiples of this; that of the options if None.
    """
    chosen = [exhausted(analysis, order, multiple) for order in _ORDERS]
    nothing = Solution.of(analysis.space, {})

    def least(cost: Callable[[Solution], int]) -> float:
        return min(cost(solution) for solution in chosen) / max(1, cost(nothing))

    return Reach(
        macs=least(analysis.macs),
        parameters=least(analysis.parameters),
        bytes=least(analysis.bytes),
        activation_bytes=least(lambda solution: analysis.activation_bytes(solution).peak),
    )


def exhausted(
    analysis: Analysis, worth: Callable[[Group], int], multiple: int | None = None
) -> Solution:
    """The solution that removes all that may go; of structures those worth most come first."""
    saliency: Saliency = {
        group.id: np.full(
            group.units, -float(worth(group)) if group.kind is GroupKind.OPERATOR else 1.0
        )
        for group in analysis.space.groups
    }
    selection = Selection(analysis, multiple=multiple)
    selection.exhaust(saliency)
    return selection.solution()
