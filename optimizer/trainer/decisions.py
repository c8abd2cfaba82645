"""How a run decides what goes: the budget's chooser, and what it is told by trials on samples."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import nn

from optimizer.bridge.module import ImportedModule
from optimizer.config import TrainConfig
from optimizer.h2spg import Choose, UnitLayout
from optimizer.trainer.data import Arrays, Batches
from optimizer.trainer.evaluation import (
    ablation_losses,
    loss_without,
    probe_loss,
)
from optimizer.trainer.hooks import S, SpaceBinding
from optimizer.trainer.liveness import Alive
from optimizer.trainer.losses import Objective
from optimizer.trainer.processes import Processes
from optimizer.trainer.profiles import (
    Trials,
    is_affordable,
    num_trials,
    samples_per_trial,
    with_profiles,
)
from optimizer.trainer.saliency import with_ablation
from optimizer.trainer.sharing import agreed
from optimizer.trainer.teacher import Teacher


def probe_of(train: Arrays, imported: ImportedModule, config: TrainConfig) -> Batches:
    """Some training samples, always the same; a batch at least where only whole ones run."""
    least = 1 if imported.batch_is_free else config.batch_size
    order = np.random.default_rng((config.seed, 2)).permutation(train.num_samples)
    some = train.taken(np.sort(order[: max(least, config.probe_samples)]))
    return Batches(some, imported.input_names, config.batch_size)


def for_trials(
    config: TrainConfig,
    probe: Batches,
    train: Arrays,
    imported: ImportedModule,
    binding: SpaceBinding[S],
    batches: Batches,
) -> tuple[TrainConfig, Batches]:
    """Decide on ``comparison``, and take fewer samples where a run is short for its trials."""
    steps = config.epochs * batches.per_epoch
    trials = config.num_periods * num_trials(binding.pool_of_unit, binding.operator_units)
    is_ablated = config.operator_saliency == "ablation"
    comparison = config.comparison
    if comparison == "auto":
        comparison = "loss" if is_ablated and is_affordable(trials, steps) else "relative"
    config = replace(config, comparison=comparison)
    if comparison != "loss":
        trials = config.num_periods * (1 + int(binding.operator_units.sum()))
        if not is_ablated or trials <= config.num_periods:
            return config, probe
    samples = samples_per_trial(
        config.probe_samples, batch_size=batches.batch_size, steps=steps, trials=trials
    )
    return config, probe_of(train, imported, replace(config, probe_samples=samples))


def chooser_for(
    module: nn.Module,
    running: Callable[[], nn.Module],
    teacher: Teacher,
    probe: Batches,
    objective: Objective,
    layout: UnitLayout,
    binding: SpaceBinding[S],
    config: TrainConfig,
    alive: Alive,
    processes: Processes,
) -> Choose:
    """The chooser of the budget, told by trials what each unit and structure is worth.

    Args:
        module: Whose weights several processes compare.
        running: The form that it runs in, as it is when a decision is due.
        teacher: The original network.
        probe: Samples that losses on trial are measured on.
        objective: The loss.
        layout: The units on the tensors of ``module``.
        binding: The search space.
        config: Settings, ``comparison`` decided.
        alive: Called before every trial.
        processes: Of the run.

    Raises:
        TargetUnreachableError: The budget cannot be met.
    """
    choose = agreed(binding.chooser(config.target_ratio, config.quantity), module, processes)

    def loss() -> float:
        return probe_loss(running(), teacher, probe, objective, seed=config.seed)

    if config.comparison == "loss":
        trials = Trials(
            pool_of_unit=binding.pool_of_unit,
            operators=binding.operator_units,
            loss_without=lambda gone_U: loss_without(layout, gone_U, loss),
            remaining=lambda removed_U: binding.remaining_ratio(removed_U, config.quantity),
            alive=alive,
        )
        return with_profiles(choose, trials)
    if config.operator_saliency == "criterion":
        return choose
    return with_ablation(
        choose,
        binding.operator_units,
        binding.pool_of_unit,
        lambda units_U: ablation_losses(layout, units_U, loss, alive=alive, processes=processes),
    )
