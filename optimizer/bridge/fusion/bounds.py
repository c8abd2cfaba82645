"""Clip from 0 on: torch's bounded ReLU, whose gradient is that of the network it was."""

import torch
from torch.nn import functional

from optimizer.bridge.fusion.view import GraphView, dtype


def fuse_bounds(view: GraphView) -> int:
    """Replace ``clamp(x, 0, high)``; count.

    The values are the same. At the bounds themselves ``clamp`` lets the gradient through and
    ``hardtanh`` does not, as with ReLU: a channel that was set to zero stays silent.
    """
    found = 0
    for node in view.calls(torch.clamp):
        if node.kwargs or len(node.args) != 3:
            continue
        low, high = (view.number(bound) for bound in node.args[1:])
        kind = dtype(node.args[0])
        if low != 0.0 or high is None or high <= 0.0 or kind is None or not kind.is_floating_point:
            continue
        view.replace(node, functional.hardtanh, node.args[0], 0.0, high)
        found += 1
    return found
