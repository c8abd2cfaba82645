"""Puts together what exporters split, so that a training step costs what the native one does.

Every pattern is a pass over the finished torch graph, where scalars are Python numbers, Identity
is gone and every value has its shapes at two bindings. A pattern is replaced only where nothing
else reads what lies inside it and its numbers are the right ones. The masked form of a model
(``graph_analysis.masking``) has products with masks inside and therefore matches none.
"""

from collections.abc import Callable

import torch
from torch import fx

from optimizer.bridge.fusion.attention import fuse_attention
from optimizer.bridge.fusion.bounds import fuse_bounds
from optimizer.bridge.fusion.gates import fuse_gates
from optimizer.bridge.fusion.gelu import fuse_gelu
from optimizer.bridge.fusion.in_place import work_in_place
from optimizer.bridge.fusion.linear import fuse_linear
from optimizer.bridge.fusion.movement import fuse_movement
from optimizer.bridge.fusion.normalization import fuse_layer_norm, fuse_rms_norm
from optimizer.bridge.fusion.shape_arithmetic import merge_shape_arithmetic
from optimizer.bridge.fusion.view import GraphView

# Gates look for the bounds inside them, and what works in place is decided when all else is done.
PASSES: tuple[Callable[[GraphView], int], ...] = (
    merge_shape_arithmetic,
    fuse_movement,
    fuse_linear,
    fuse_layer_norm,
    fuse_rms_norm,
    fuse_gelu,
    fuse_gates,
    fuse_attention,
    fuse_bounds,
    work_in_place,
)


def fuse_graph(graph: fx.Graph, root: torch.nn.Module) -> dict[str, int]:
    """Rewrite ``graph`` in place; the tensors of ``root`` stay as they are.

    Returns:
        Name of each pass to the number of places that it changed.
    """
    view = GraphView(graph, root)
    view.sweep()
    return {run.__name__: run(view) for run in PASSES}
