"""HESSO in our own words: five saliencies mixed, units decay linearly over equal periods.

Written from PAPER.md 1.6: magnitude, magnitude over size, one plus the cosine between weights and
direction, Taylor of first and of second order, 0.2 of each after division by its norm over all
units; least first. Channels only. It counts units; here the budget of each period is in MACs, so
that it arrives where the others do.
"""

import onnx
import torch
from torch import Tensor

from benchmarks.peers.one_shot import CHANNELS
from benchmarks.peers.training import Lesson, train_on
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.solving import Selection
from optimizer.bridge.binding import Binding, bind
from optimizer.bridge.module import import_model
from optimizer.h2spg import H2SPG, Choose, Measured, SaliencyCriterion, Schedule

PERIODS = 10
WARM_UP_SHARE, SEARCH_SHARE = (
    0.05,
    0.2,
)  # the shares of the product: the published ones are too short here
_TINY = 1e-12


def mixed(measured: Measured) -> Tensor:
    """The mixture, low = redundant; (U,)."""
    dot, square = measured.direction_dot, measured.direction_square_norm
    assert dot is not None
    assert square is not None
    norm = measured.square_norm.sqrt()
    cosine = dot / (norm * square.sqrt()).clamp_min(_TINY)
    parts = (norm, norm / measured.size.clamp_min(1), 1 + cosine, dot.abs(), 0.5 * dot.square())
    return sum(
        (0.2 * part / torch.linalg.vector_norm(part).clamp_min(_TINY) for part in parts),
        torch.zeros_like(norm),
    )


HESSO = SaliencyCriterion(saliency=mixed, needs_direction=True, is_relative=False)


def compressed(model: onnx.ModelProto, ratio: float, lesson: Lesson) -> onnx.ModelProto:
    """Train ``model`` down to ``ratio`` of its MACs and cut it."""
    analysis = analyze(load_model(model.SerializeToString()), options=CHANNELS)
    imported = import_model(analysis.maskable())
    binding = bind(analysis, imported)
    layout, total = binding.layout(), lesson.total_steps
    schedule = Schedule.regular(
        warm_up=max(1, round(WARM_UP_SHARE * total)),
        periods=PERIODS,
        period_steps=max(2, round(SEARCH_SHARE * total / PERIODS)),
        total=total,
    )
    config, made = lesson.config, []

    def make(groups: list[dict[str, object]]) -> H2SPG:
        is_sgd = config.optimizer == "sgd"
        made.append(
            H2SPG(
                groups,
                layout,
                schedule=schedule,
                choose=_chooser(binding, ratio),
                variant=config.optimizer,
                lr=config.peak_lr,
                momentum=config.momentum if is_sgd else 0.0,
                nesterov=is_sgd,
                saliency=HESSO,
            )
        )
        return made[0]

    train_on(imported.module, lesson, make=make, judge_from=schedule.boundaries[-1])
    own = {tensor.name for tensor in analysis.loaded.model.graph.initializer}
    weights = {name: array for name, array in imported.weights().items() if name in own}
    return shrink(analysis, binding.solution(made[0].redundant), weights)


def _chooser(binding: Binding, ratio: float) -> Choose:
    analysis = binding.analysis

    def choose(saliency_U: Tensor, removed_U: Tensor, fraction: float) -> Tensor:  # noqa: N803
        removed = binding.removed_by_group(removed_U)
        selection = Selection(analysis, removed=removed)
        values = {
            group.id: saliency_U[first : first + group.units].numpy()
            for group, first in ((g, binding.first_unit[g.id]) for g in analysis.space.groups)
        }
        selection.advance(values, 1 - fraction * (1 - ratio))
        chosen_U = removed_U.clone()  # noqa: N806
        for key, units in selection.solution().removed.items():
            chosen_U[[binding.first_unit[key] + unit for unit in units]] = True
        return chosen_U

    return choose
