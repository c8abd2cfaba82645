"""Random choices of every size, and how far the cut file is from the masked one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from exporters import samples
from exporters.masked import mask
from exporters.sessions import OFF, open_session, run
from exporters.surgeon import shrink
from graph_analysis.effects import is_dead
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.growth import Growth
from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.solving import solve

REMOVALS = tuple(round(0.1 * number, 1) for number in range(1, 10))  # shares that go


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An answer to "remove so much".

    Attributes:
        solution: What goes; None if so much cannot go.
        reachable: The largest share that can, where it was refused.
    """

    solution: Solution | None
    reachable: float | None = None


def choose_macs(analysis: Analysis, removal: float, seed: int) -> Choice:
    """Remove at least ``removal`` (0..1) of the MACs by a random saliency, all kinds of groups."""
    try:
        solution = solve(analysis, target_ratio=1 - removal, saliency="random", seed=seed)
    except TargetUnreachableError as error:
        return Choice(solution=None, reachable=1 - error.reachable_ratio)
    return Choice(solution=solution)


class StructureOrder:
    """Removal structures in random order, valid at every step: a choice for any share of them.

    What dies with a chosen structure is gone too and counts, as it does in the paper; it is not
    chosen as well (PAPER.md 5, items 4 and 5).
    """

    def __init__(self, analysis: Analysis, seed: int) -> None:
        self._analysis = analysis
        keys = [g.id for g in analysis.space.groups if g.kind is GroupKind.OPERATOR]
        self._count = len(keys)
        order = [(keys[place], 0) for place in np.random.default_rng(seed).permutation(len(keys))]
        floor = {group.id: analysis.least(group) for group in analysis.space.groups}
        growth = Growth(analysis, {}, order, floor=floor, known={})
        answers = growth.answers_before(len(order))
        self._going = [key for key, _ in order if answers[key]]

    def choose(self, removal: float) -> Choice:
        """Remove at least ``removal`` (0..1) of the structures: the shortest beginning that does.

        Refused where the whole order does not reach that; another order may reach further.
        """
        low, high = 0, len(self._going)
        most = self._gone_ratio(high)
        if most < removal:
            return Choice(solution=None, reachable=most)
        while low < high:
            middle = (low + high) // 2
            if self._gone_ratio(middle) >= removal:
                high = middle
            else:
                low = middle + 1
        chosen = Solution(space="", removed=dict.fromkeys(self._going[:high], (0,)))
        dead = self._analysis.dead(chosen)
        alive = {key: units for key, units in chosen.removed.items() if key not in dead}
        return Choice(solution=Solution.of(self._analysis.space, alive))

    def _gone_ratio(self, count: int) -> float:
        """Share of the structures that are gone with the first ``count`` of the order."""
        chosen = Solution(space="", removed=dict.fromkeys(self._going[:count], (0,)))
        remaining, graph = self._analysis.survivors(chosen), self._analysis.graph
        gone = [s for s in self._analysis.structures if is_dead(graph, s.edges, remaining)]
        return len(gone) / max(1, self._count)


def choose_structures(analysis: Analysis, removal: float, seed: int) -> Choice:
    """Remove ``removal`` (0..1) of the removal structures in random order."""
    return StructureOrder(analysis, seed).choose(removal)


def largest_difference(
    analysis: Analysis, solution: Solution, *, batches: Sequence[int] = (1, 3), seed: int = 0
) -> float:
    """Masked against cut in ONNX Runtime, optimisations off, relative to the largest output.

    Raises:
        SolutionError: The solution is not valid.
        SurgeryError: The file cannot be cut so.
    """
    masked, cut = mask(analysis, solution), shrink(analysis, solution)
    return largest_difference_of(analysis, masked, cut, batches=batches, seed=seed)


def largest_difference_of(
    analysis: Analysis,
    masked: onnx.ModelProto,
    cut: onnx.ModelProto,
    *,
    batches: Sequence[int] = (1, 3),
    seed: int = 0,
) -> float:
    """The same for two files that are there already."""
    sessions = open_session(masked, level=OFF), open_session(cut, level=OFF)
    specs = samples.input_specs(masked)
    known = {name: analysis.graph.shape(name) or () for name in analysis.graph.inputs}
    rng = np.random.default_rng(seed)
    found = 0.0
    for batch in batches:
        feeds = samples.random_feeds(
            specs, samples.bound_shapes(specs, batch=batch, known=known), rng
        )
        expected, actual = (run(session, feeds) for session in sessions)
        for name, reference in expected.items():
            assert np.isfinite(reference).all(), f"{name} is not finite"
            scale = max(float(np.abs(reference).max()), 1e-6)
            found = max(found, float(np.abs(reference - actual[name]).max()) / scale)
    return found
