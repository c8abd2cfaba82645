"""Random valid solutions of every size, and all that must hold for each of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from exporters import samples
from exporters.masked import mask
from exporters.sessions import OFF, open_session, run
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution

KINDS: Mapping[str, Collection[GroupKind]] = {
    "channel": (GroupKind.CHANNEL,),
    "head": (GroupKind.HEAD,),
    "operator": (GroupKind.OPERATOR,),
    "mixed": tuple(GroupKind),
}
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the units, of each group that is touched
RELATIVE, ABSOLUTE = 1e-5, 1e-6  # of the largest value of an output, and of nothing


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a file costs, counted on the file itself."""

    macs: int
    parameters: int
    bytes: int

    @classmethod
    def of(cls, analysis: Analysis, solution: Solution | None = None) -> "Figures":
        """Of what a solution leaves; of the whole model without one."""
        solution = solution or Solution.of(analysis.space, {})
        return cls(
            macs=analysis.macs(solution),
            parameters=analysis.parameters(solution),
            bytes=analysis.bytes(solution),
        )

    def as_row(self) -> dict[str, int]:
        """For a result file."""
        return {"macs": self.macs, "parameters": self.parameters, "bytes": self.bytes}


def analysis_of(model: onnx.ModelProto) -> Analysis:
    """Load and analyse a model in memory."""
    return analyze(load_model(model.SerializeToString()))


def random_solution(
    analysis: Analysis, kinds: Collection[GroupKind], share: float, seed: int
) -> Solution:
    """About ``share`` of what may go, in random order, valid at every step.

    A group of one unit, and an operator, goes with probability ``share``. What would make the
    solution invalid is tried with half as much, then left.
    """
    rng = np.random.default_rng(seed)
    groups = [group for group in analysis.space.groups if group.kind in kinds]
    removed: dict[str, tuple[int, ...]] = {}
    for position in rng.permutation(len(groups)):
        group = groups[position]
        if group.units == 1:
            count = int(rng.random() < share)
        else:
            count = min(round(share * group.units), group.units - 1)
        units = [int(unit) for unit in rng.permutation(group.units)]
        while count:
            candidate = Solution.of(
                analysis.space, {**removed, group.id: tuple(sorted(units[:count]))}
            )
            if not analysis.violations(candidate):
                removed = dict(candidate.removed)
                break
            count //= 2
    return Solution.of(analysis.space, removed)


def failures_of(analysis: Analysis, solution: Solution, seed: int) -> Iterator[str]:
    """Everything that does not hold for a solution; nothing if all does.

    1. The cut model equals the masked one, at batch 1 and (where free) 3.
    2. MACs, parameters and bytes of the file are those that were predicted.
    3. It is no larger in any of them than the original, and smaller in one if something went.
    """
    cut = shrink(analysis, solution)
    again = analysis_of(cut)
    before, predicted = Figures.of(analysis), Figures.of(analysis, solution)
    counted = counted_of(analysis, again)
    if counted.macs != predicted.macs:
        yield f"{counted.macs} MACs counted, {predicted.macs} predicted"
    if counted.parameters != predicted.parameters:
        yield f"{counted.parameters} parameters counted, {predicted.parameters} predicted"
    if counted.bytes != predicted.bytes:
        yield f"{counted.bytes} bytes counted, {predicted.bytes} predicted"
    pairs = list(zip(counted.as_row().values(), before.as_row().values(), strict=True))
    if any(after > whole for after, whole in pairs):
        yield f"larger than the original: {counted.as_row()}, was {before.as_row()}"
    pairs.append((len(cut.graph.node), len(analysis.loaded.model.graph.node)))  # of a pool, say
    if solution.removed and all(after == whole for after, whole in pairs):
        yield "something was removed, and nothing is smaller"
    yield from differences(analysis, mask(analysis, solution), cut, seed)


def counted_of(analysis: Analysis, again: Analysis) -> Figures:
    """What a file costs that was cut from the model of ``analysis`` and analysed ``again``."""
    known = {*analysis.loaded.copies, *analysis.loaded.copies.values()}
    return _counted(again, {n for n, of in again.loaded.copies.items() if of not in known})


def _counted(again: Analysis, new_copies: Collection[str]) -> Figures:
    """What the file costs, without copies that loading made because a cut left equal values."""
    nothing = np.zeros(len(again.classes.class_of) + 1, bool)
    figures = Figures.of(again)
    for name in new_copies:
        count = again.costs.elements[name].count(nothing)
        figures = Figures(
            macs=figures.macs,
            parameters=figures.parameters - count * (name in again.costs.parameters),
            bytes=figures.bytes - count * again.costs.item_bytes[name],
        )
    return figures


def differences(
    analysis: Analysis, masked: onnx.ModelProto, cut: onnx.ModelProto, seed: int
) -> Iterator[str]:
    """Where the two models' outputs differ, on random inputs, optimisations off."""
    sessions = open_session(masked, level=OFF), open_session(cut, level=OFF)
    specs = samples.input_specs(masked)
    known = {name: analysis.graph.shape(name) or () for name in analysis.graph.inputs}
    rng = np.random.default_rng(seed)
    for batch in (1, 3) if samples.has_free_batch(specs) else (1,):
        shapes = samples.bound_shapes(specs, batch=batch, known=known)
        feeds = samples.random_feeds(specs, shapes, rng)
        expected, actual = (run(session, feeds) for session in sessions)
        yield from _unequal(expected, actual, batch)


def _unequal(
    expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], batch: int
) -> Iterator[str]:
    for name, reference in expected.items():
        found = actual[name]
        if reference.shape != found.shape:
            yield f"{name} has shape {found.shape}, not {reference.shape} (batch {batch})"
        elif reference.dtype.kind not in "fc":
            if not np.array_equal(reference, found):
                yield f"{name} differs (batch {batch})"
        elif reference.size:
            reference, found = reference.astype(np.float64), found.astype(np.float64)
            finite = np.isfinite(reference)
            scale = float(np.abs(reference[finite]).max()) if finite.any() else 0.0
            allowed = RELATIVE * scale + ABSOLUTE
            difference = np.abs(reference[finite] - found[finite])
            same = np.array_equal(reference[~finite], found[~finite], equal_nan=True)
            if not (same and (difference <= allowed).all()):
                largest = float(difference.max()) if difference.size else float("nan")
                yield f"{name} is off by {largest:.3g}, allowed {allowed:.3g} (batch {batch})"


def plan(count: int) -> Sequence[tuple[str, float, int]]:
    """(kinds, share, seed) of ``count`` solutions for every kind, shares in turn."""
    return [(kinds, SHARES[i % len(SHARES)], i) for i in range(count) for kinds in KINDS]
