"""Cuts made at once and before training: by magnitude, at random, to a uniform width.

Channels and heads only, as the methods are published. Search space, budget and surgeon are
Secateur's, so these say what a choice of units is worth without a search.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solving import Selection, magnitudes

Values = dict[str, npt.NDArray[np.float64]]
CHANNELS = AnalysisOptions(kinds=frozenset({GroupKind.CHANNEL, GroupKind.HEAD}))


def magnitude(analysis: Analysis, seed: int) -> Values:
    """Root mean square over all members of a unit, compared across groups as it is."""
    del seed
    return magnitudes(analysis)


def random(analysis: Analysis, seed: int) -> Values:
    """Any unit as likely as any other."""
    rng = np.random.default_rng((seed, 11))
    return {group.id: rng.random(group.units) for group in analysis.space.groups}


def uniform(analysis: Analysis, seed: int) -> Values:
    """The same share of every group goes, smallest magnitude first."""
    found = {}
    for key, values in magnitude(analysis, seed).items():
        rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
        found[key] = (rank + 0.5) / len(values)
    return found


SALIENCIES: Mapping[str, Callable[[Analysis, int], Values]] = {
    "magnitude": magnitude,
    "random": random,
    "uniform": uniform,
}


def cut(model: onnx.ModelProto, method: str, ratio: float, seed: int) -> onnx.ModelProto:
    """``model`` with at most ``ratio`` of its MACs, chosen by ``method``."""
    analysis = analyze(load_model(model.SerializeToString()), options=CHANNELS)
    selection = Selection(analysis)
    selection.advance(SALIENCIES[method](analysis, seed), ratio)
    return shrink(analysis, selection.solution())
