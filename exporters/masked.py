"""The masked model: the original with a solution's groups neutralised. Reference of every proof.

Same shapes and names as the normalised working copy; weights differ, and operators that take
statistics over something removed are in their masked form (``graph_analysis.masking``). What a zero
slice silences is the promise of the search space and is not checked here: the proof does.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from exporters import weights as tensors
from exporters.errors import SurgeryError
from graph_analysis.folding import fold
from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import SearchSpace
from graph_analysis.solution import Solution


def mask(
    analysis: Analysis,
    solution: Solution,
    weights: Mapping[str, npt.NDArray[np.generic]] | None = None,
) -> onnx.ModelProto:
    """The working copy of the model with every ``zero`` slice of the removed units set to 0.

    Args:
        analysis: Of the model that the solution was found for.
        solution: What is removed.
        weights: Trained values by initializer name, in the shapes and types of the model; what is
            not named keeps the values of the file.

    Raises:
        SolutionError: The solution belongs to another search space.
        SurgeryError: A zero slice names no initializer, or a weight does not fit.
    """
    solution.check(analysis.space)
    source = analysis.maskable_flat(solution)
    initializers = tensors.trained(source, weights)
    for name, slices in zero_slices(analysis.space, solution).items():
        if name not in initializers:
            message = f"the search space zeroes {name!r}, which is no initializer of the model"
            raise SurgeryError(message, param=name)
        initializers[name] = tensors.zeroed(initializers[name], slices)
    result = tensors.copy_without(source, "initializer")
    result.graph.initializer.extend(initializers.values())
    return fold(result, analysis.loaded.bodies)


def zero_slices(
    space: SearchSpace, solution: Solution
) -> Mapping[str, list[tuple[int, tuple[int, ...]]]]:
    """What ``solution`` sets to 0: initializer -> (axis, indices), one entry per group and slice.

    Masks of the masked form are among the initializers.
    """
    result: dict[str, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for group_id, units in solution.removed.items():
        group = space.group_by_id[group_id]
        for slices in (*group.zero, *group.masks):
            indices = tuple(i for unit in units for i in slices.unit_indices[unit])
            if indices:
                result[slices.initializer].append((slices.axis, indices))
    return result
