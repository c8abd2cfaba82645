"""Activations that overwrite what nobody else reads: memory, and the time to fetch it."""

import operator

import torch
from torch import fx
from torch.nn import functional

from optimizer.bridge.fusion.view import GraphView, is_call, is_inside
from optimizer.bridge.ops.normalization import BatchNorm

# What makes a new tensor and does not need it again for its gradient.
_FRESH = (torch.add, functional.conv1d, functional.conv2d, functional.conv3d)


def work_in_place(view: GraphView) -> int:
    """Let ReLU and bounded ReLU overwrite the output of a layer that only they read; count."""
    found = 0
    for node in view.calls(torch.relu, functional.hardtanh):
        source = node.args[0]
        if node.kwargs or not is_inside(source, node) or not _is_fresh(view, source):
            continue
        if is_call(node, torch.relu):
            view.replace(node, torch.relu_, source)
        else:
            view.replace(node, functional.hardtanh, *node.args, inplace=True)
        found += 1
    return found


def _is_fresh(view: GraphView, source: object) -> bool:
    if not isinstance(source, fx.Node):
        return False
    if is_call(source, operator.getitem) and source.args[1] == 0:
        source = source.args[0]
    return is_call(source, *_FRESH) or isinstance(view.module(source), BatchNorm)
