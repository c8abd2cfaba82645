"""What a model that holds some of its weights as integers can lose, found out by trying.

Training zeroes the slices of the float weights of what it removes. Where that leaves something,
because an integer weight adds to it, the trained network is not the one that is cut.
"""

from copy import deepcopy

import torch

from exporters.masked import mask
from exporters.sessions import Feeds
from graph_analysis.errors import ModelError
from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import Group
from graph_analysis.solution import Solution
from optimizer.bridge.binding import bind
from optimizer.bridge.module import ImportedModule
from optimizer.h2spg.units import fill_zero
from service.compression.agreement import disagreement


def check_integers(analysis: Analysis, imported: ImportedModule, real: Feeds, seed: int) -> None:
    """Refuse a model with groups that training cannot remove.

    Args:
        analysis: Whose masked form was imported.
        imported: The module; not modified.
        real: One batch of real samples.
        seed: Of the random samples.

    Raises:
        ModelError: ``model-quantised``; names the weights to protect.
    """
    integers = frozenset(imported.integer_weights)
    stuck: dict[str, None] = {}
    for group in analysis.space.groups:
        held = sorted({slices.initializer for slices in group.zero} & integers)
        if held and not _goes(analysis, imported, group, real, seed):
            own = [name for name in held if group.id.endswith(f":{name}")]
            stuck[(own or held)[0]] = None  # one protected weight keeps the whole group
    if stuck:
        listed = ", ".join(f"'{name}'" for name in stuck)
        options = " ".join(f"--protect {name}" for name in stuck)
        message = (
            f"the model is partly quantised: weights that would have to shrink, {listed}, are "
            f"integers and cannot be trained to 0; keep them with {options}, or upload the float "
            "model and quantise afterwards"
        )
        raise ModelError(message, code="model-quantised", param=next(iter(stuck)))


def _goes(
    analysis: Analysis, imported: ImportedModule, group: Group, real: Feeds, seed: int
) -> bool:
    """Whether zeroing floats alone does what the masked model does, for half of a group."""
    units = range(max(1, group.units // 2))
    solution = Solution.of(analysis.space, {group.id: units})
    replica = deepcopy(imported)
    binding = bind(analysis, replica)
    removed = torch.zeros(binding.num_units, dtype=torch.bool)
    first = binding.first_unit[group.id]
    removed[first : first + len(units)] = True
    layout = binding.layout()
    with torch.no_grad():
        fill_zero(layout.tensors, layout.positions(removed))
    return disagreement(replica, mask(analysis, solution), real, seed=seed) is None
