"""Makes everything that a run works with; errors of settings and data surface here."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from optimizer.bridge.module import ImportedModule
from optimizer.bridge.rows import is_row_by_row
from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.h2spg import H2SPG, Choose, UnitLayout
from optimizer.trainer.augmentation import augmentation_for
from optimizer.trainer.data import ArrayData, Batches, split
from optimizer.trainer.decisions import chooser_for, for_trials, probe_of
from optimizer.trainer.ending import check_can_judge
from optimizer.trainer.execution import Execution
from optimizer.trainer.features import features_for
from optimizer.trainer.hooks import S, SpaceBinding
from optimizer.trainer.liveness import Alive, nobody_listens
from optimizer.trainer.losses import Objective, as_tuple, objective_for
from optimizer.trainer.normalising import with_normalisations
from optimizer.trainer.plan import plan
from optimizer.trainer.precision import Precision
from optimizer.trainer.processes import ALONE, Processes
from optimizer.trainer.replicas import Replicas
from optimizer.trainer.setting import Setting
from optimizer.trainer.sharing import (
    FEWEST_SAMPLES,
    check_same_run,
    check_shareable,
    counts_samples,
)
from optimizer.trainer.starting import (
    Started,
    check_has_task,
    draw_weights,
    flatten_insertions,
)
from optimizer.trainer.teacher import Teacher


def prepare(
    imported: ImportedModule,
    data: ArrayData,
    binding: SpaceBinding[S],
    config: TrainConfig,
    *,
    alive: Alive = nobody_listens,
    processes: Processes = ALONE,
) -> Setting:
    """Make everything ready for the first step.

    Raises:
        InputError: Data or settings do not fit the model.
        TargetUnreachableError: The budget cannot be met.
    """
    device = processes.device(device_of(config.device))
    torch.manual_seed(config.seed)
    module = imported.module.to(device)
    train, held_out = split(data, validation_ratio=config.validation_ratio, seed=config.seed)
    batches = Batches(train, imported.input_names, config.batch_size)
    check_shareable(processes, batches, config, batch_is_free=imported.batch_is_free)
    validation = None
    if held_out is not None:
        validation = Batches(held_out, imported.input_names, config.batch_size)
    full_only = not imported.batch_is_free
    _check_parts(config, imported)
    execution = Execution(config)
    precision = Precision(config.precision, module, device)
    teacher = Teacher(module)
    probe = probe_of(train, imported, config)
    objective = _objective(teacher, probe, batches, config, device)
    first = probe.at(next(probe.in_order(full_only=True))).to(device)
    augmentation = augmentation_for(config, imported, first.inputs, objective)
    by_samples = processes.is_alone or counts_samples(teacher, probe, device)
    started = _begin(imported, objective, teacher, config)
    if not full_only and augmentation is None and not config.feature_weight:
        teacher.remember(batches, device, alive=alive)
    renormalised = with_normalisations(imported, probe, config, device)
    if started is not None:
        flatten_insertions(imported)
    layout = binding.layout()
    config, probe = for_trials(config, probe, train, imported, binding, batches)
    features = features_for(config, module, first, binding, layout.num_units)
    if features is not None:
        teacher.watch(features.names)
        weight = config.feature_weight
        objective = replace(objective, features=features, feature_weight=weight)
    choose = chooser_for(
        module,
        lambda: execution.of(module),
        teacher,
        probe,
        objective,
        layout,
        binding,
        config,
        alive,
        processes,
    )
    optimizer = _optimizer(module, layout, choose, config, batches.per_epoch)
    setting = Setting(
        config=config,
        imported=imported,
        module=module,
        replicas=_replicas(teacher, objective, batches, processes, config, device),
        optimizer=optimizer,
        teacher=teacher,
        objective=objective,
        train=batches,
        probe=probe,
        validation=validation,
        original=None,
        device=device,
        full_only=full_only,
        renormalised=renormalised,
        augmentation=augmentation,
        started=started,
        features=features,
        alive=alive,
        precision=precision,
        execution=execution,
        watched=Execution(config),
        processes=processes,
        by_samples=by_samples,
    )
    check_same_run(processes, setting.identity(), batches)
    return _with_original(setting)


def _check_parts(config: TrainConfig, imported: ImportedModule) -> None:
    if not imported.batch_is_free and config.accumulate > 1:
        message = "the model takes batches of one size only, so accumulate must be 1"
        raise InputError(message, param="accumulate")
    if config.checkpointing > 1 and is_row_by_row(imported.module):
        message = (
            "the model is run sample by sample, since its file insists on a batch of 1, so its "
            "graph cannot be computed again in parts; checkpointing must be 1"
        )
        raise InputError(message, param="checkpointing")


def _begin(
    imported: ImportedModule, objective: Objective, teacher: Teacher, config: TrainConfig
) -> Started | None:
    """Draw new weights if training is from scratch; a teacher that the loss ignores is let go."""
    started = None
    if config.start == "scratch":
        check_has_task(objective)
        started = draw_weights(imported, seed=config.seed)
    if objective.distillation_weight == 0 and not config.feature_weight:
        teacher.retire()
    return started


def _with_original(setting: Setting) -> Setting:
    original = setting.evaluate()
    check_can_judge(setting.config, original)
    return replace(setting, original=original if setting.started is None else None)


def device_of(name: str) -> torch.device:
    """The device that a setting means.

    Raises:
        InputError: A GPU is wanted, and torch sees none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        message = "device 'cuda' was asked for, but torch sees no GPU; use 'auto' or 'cpu'"
        raise InputError(message, param="device")
    return torch.device(name)


def _objective(
    teacher: Teacher, probe: Batches, batches: Batches, config: TrainConfig, device: torch.device
) -> Objective:
    first = next(probe.in_order(full_only=True))
    try:
        outputs = teacher.outputs(probe.at(first).to(device))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        message = (
            f"the model does not run on a batch of {probe.batch_size} training samples: "
            f"{str(error).splitlines()[0]}"
        )
        raise InputError(message, code="dataset-shape-mismatch") from error
    return objective_for(
        config.loss,
        outputs,
        batches.labels,
        distillation_weight=0.0 if config.start == "scratch" else config.distillation_weight,
        temperature=config.temperature,
        label_smoothing=config.label_smoothing,
        ignore_index=config.ignore_index,
    )


def _replicas(
    teacher: Teacher,
    objective: Objective,
    batches: Batches,
    processes: Processes,
    config: TrainConfig,
    device: torch.device,
) -> Replicas:
    count = max(FEWEST_SAMPLES, processes.sizes(batches.batch_size)[0])

    def loss(running: nn.Module) -> Tensor:
        batch = batches.at(torch.arange(count)).to(device)
        outputs = as_tuple(running(*batch.inputs))
        target = teacher.outputs(batch) if objective.features is None else teacher.watched(batch)
        return objective.loss(outputs, target, batch.labels)

    return Replicas(processes, sync_batch_norm=config.sync_batch_norm == "on", loss=loss)


def _optimizer(
    module: nn.Module, layout: UnitLayout, choose: Choose, config: TrainConfig, per_epoch: int
) -> H2SPG:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    vectors = [parameter for parameter in trained if parameter.dim() <= 1]
    is_sgd = config.optimizer == "sgd"
    return H2SPG(
        [
            {"params": matrices, "weight_decay": config.decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        layout,
        schedule=plan(config, per_epoch),
        choose=choose,
        variant=config.optimizer,
        lr=config.peak_lr,
        momentum=config.momentum if is_sgd else 0.0,
        nesterov=is_sgd,
        saliency=config.saliency,
        measure_every=config.measure_every,
    )
