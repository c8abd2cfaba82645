"""Cuts by Torch-Pruning: global pruning by its group norm, and by its first-order Taylor.

One shot, from importances of the pretrained network; the pruning ratio is the smallest that meets
the MACs. The head's outputs are the classes and stay.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.networks import Attention, ViT, macs_of
from benchmarks.peers.training import Lesson

GRID, BISECTIONS = 0.05, 8  # of the pruning ratio
TAYLOR_BATCHES = 16
METHODS = ("tp-group-norm", "tp-taylor")


def cut(network: nn.Module, method: str, ratio: float, lesson: Lesson) -> nn.Module:
    """A copy of ``network`` with at most ``ratio`` of its MACs.

    Args:
        network: The pretrained network.
        method: One of ``METHODS``.
        ratio: Share of the MACs that may remain.
        lesson: Gives the batches for gradients.

    Raises:
        RuntimeError: Torch-Pruning does not get down to the ratio.
    """
    import torch_pruning as tp  # in no environment but that of this benchmark

    example = lesson.train.at(torch.arange(2)).inputs[0]
    whole = macs_of(network, example)
    scored = copy.deepcopy(network).eval()  # in inference form: no statistics move
    if method == "tp-taylor":
        for step in range(TAYLOR_BATCHES):
            lesson.gradients_at(step, scored)
    found, low, high = None, 0.0, 1.0
    for high in np.arange(1, 1 / GRID) * GRID:  # not monotone: it skips groups it would empty
        found = _within(tp, scored, example, method, float(high), ratio * whole)
        if found is not None:
            break
        low = high
    if found is None:
        message = f"{method} stops above {ratio}"
        raise RuntimeError(message)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        student = _within(tp, scored, example, method, float(middle), ratio * whole)
        low, high = (middle, high) if student is None else (low, middle)
        found = student or found
    found.zero_grad()
    return found


def _within(
    tp: Any, scored: nn.Module, example: torch.Tensor, method: str, share: float, budget: float
) -> nn.Module | None:
    student = _pruned(tp, scored, example, method, share)
    return student if macs_of(student, example) <= budget else None


def _pruned(
    tp: Any, scored: nn.Module, example: torch.Tensor, method: str, pruning_ratio: float
) -> nn.Module:
    """A copy of ``scored``, gradients included, without the share ``pruning_ratio`` of units."""
    student = copy.deepcopy(scored)
    for old, new in zip(scored.parameters(), student.parameters(), strict=True):
        new.grad = None if old.grad is None else old.grad.clone()
    is_norm = method == "tp-group-norm"
    importance = tp.importance.GroupMagnitudeImportance if is_norm else None
    attentions = [part for part in student.modules() if isinstance(part, Attention)]
    heads = {
        project: part.heads for part in attentions for project in (part.query, part.key, part.value)
    }
    (tp.pruner.GroupNormPruner if is_norm else tp.pruner.MetaPruner)(
        student,
        example,
        importance=(importance or tp.importance.GroupTaylorImportance)(),
        global_pruning=True,
        pruning_ratio=pruning_ratio,
        ignored_layers=[student.head],
        num_heads=heads,
        unwrapped_parameters=[(student.positions, 2)] if isinstance(student, ViT) else None,
    ).step()
    return student
