"""What a run works with and does not change: data, teacher, objective; and the optimizer's making.

Errors of settings and data surface here, before the first step.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from optimizer.bridge.module import ImportedModule
from optimizer.bridge.renormalising import Renormalised
from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.h2spg import H2SPG, Choose, UnitLayout
from optimizer.trainer.augmentation import Augmentation, augmentation_for
from optimizer.trainer.data import ArrayData, Arrays, Batch, Batches, split
from optimizer.trainer.ending import check_can_judge
from optimizer.trainer.evaluation import Evaluation, ablation_losses, evaluate, probe_loss
from optimizer.trainer.execution import Execution
from optimizer.trainer.features import Features, features_for
from optimizer.trainer.hooks import S, SpaceBinding
from optimizer.trainer.liveness import Alive, nobody_listens
from optimizer.trainer.losses import Objective, as_tuple, objective_for
from optimizer.trainer.normalising import with_normalisations
from optimizer.trainer.plan import plan
from optimizer.trainer.precision import Precision
from optimizer.trainer.processes import ALONE, Processes, no_sync
from optimizer.trainer.replicas import Replicas
from optimizer.trainer.saliency import with_ablation
from optimizer.trainer.sharing import (
    FEWEST_SAMPLES,
    agreed,
    check_same_run,
    check_shareable,
    counts_samples,
    gathered,
    shared_loss,
)
from optimizer.trainer.starting import (
    Started,
    check_has_task,
    draw_weights,
    flatten_insertions,
)
from optimizer.trainer.state import weights_of
from optimizer.trainer.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The fixed part of a run.

    Attributes:
        config: Settings.
        imported: What trains.
        module: In training, on ``device``.
        replicas: Makes what training steps call, with gradients averaged over processes.
        optimizer: H2SPG over its parameters.
        teacher: The original network.
        objective: What is minimised.
        train: Samples to train on.
        probe: Some of them, always the same.
        validation: Samples to judge by, if there are any.
        original: The original network, judged on them; None where training is from scratch.
        device: Where it runs.
        full_only: Whether the module takes batches of one size only.
        renormalised: What was put into the module to train with, if that was tried.
        augmentation: What training samples go through first, if anything.
        started: What was drawn anew, where training is from scratch.
        features: What is compared inside of the network, if anything.
        alive: Called between the batches of everything that is no training step.
        precision: What forward passes of training are computed in.
        execution: The form that the module runs in,
        watched: and that of its view with features.
        processes: Those that share the samples of every step.
        by_samples: Whether every output counts samples along its axis 0.
    """

    config: TrainConfig
    imported: ImportedModule
    module: fx.GraphModule
    replicas: Replicas
    optimizer: H2SPG
    teacher: Teacher
    objective: Objective
    train: Batches
    probe: Batches
    validation: Batches | None
    original: Evaluation | None
    device: torch.device
    full_only: bool
    renormalised: Renormalised | None
    augmentation: Augmentation | None
    started: Started | None
    features: Features | None
    alive: Alive
    precision: Precision
    execution: Execution
    watched: Execution
    processes: Processes
    by_samples: bool

    @property
    def running(self) -> nn.Module:
        """The module in the form that it runs in."""
        return self.execution.of(self.module)

    def loss_at(self, step: int) -> Tensor:
        """The loss of the batch of ``step``, in training form."""
        return next(self.losses_at(step))

    def losses_at(self, step: int, *, parts: int = 1) -> Iterator[Tensor]:
        """The loss of the batch of ``step`` in training form, as a sum over parts of the batch.

        Each part is computed when the one before it has been used, so that only one is in memory.
        The sum is the loss of the whole batch to rounding, unless the network takes statistics
        over a batch.

        Args:
            step: Which batch.
            parts: At most the number of samples.

        Yields:
            Scalars in float32.
        """
        indices = self.train.indices(step, self.config.seed)
        batch = self.train.at(indices).to(self.device)
        if self.augmentation is not None:
            batch = self.augmentation.applied(batch, step)
        chunks = indices.tensor_split(min(parts, len(indices)))
        batches = batch.chunks([len(some) for some in chunks])
        batches = [self._own(part) for part in batches]
        targets = [
            self._target(self.processes.part(some), part)
            for some, part in zip(chunks, batches, strict=True)
        ]
        objective = self.objective
        if len(chunks) > 1:
            objective = objective.for_parts(self._of_all(chunks, targets), batch.labels)
        self.module.train()
        replica = self.replicas.of(self._watched)  # tries samples, which may draw numbers
        self.processes.begin_step(self.module, self.config.seed, step)
        for number, (some, part, target) in enumerate(zip(chunks, batches, targets, strict=True)):
            is_last = number == len(chunks) - 1
            with nullcontext() if is_last else no_sync(replica):
                with self.precision.forward():
                    outputs = as_tuple(replica(*part.inputs))
                loss = shared_loss(
                    self.processes,
                    objective,
                    self.precision.widened(outputs),
                    target,
                    part.labels,
                    num_samples=len(some),
                    by_samples=self.by_samples,
                )
                yield loss if len(chunks) == 1 else loss * (len(some) / len(indices))

    @property
    def _watched(self) -> nn.Module:
        """What training steps run: with features behind the outputs where they are compared."""
        if self.features is None:
            return self.running
        return self.watched.of(self.features.view(self.module))

    def _own(self, batch: Batch) -> Batch:
        """This process' samples of ``batch``."""
        if self.processes.is_alone:
            return batch
        return batch.chunks(self.processes.sizes(batch.num_samples))[self.processes.rank]

    def _of_all(
        self, chunks: Sequence[Tensor], targets: list[tuple[Tensor, ...]]
    ) -> list[tuple[Tensor, ...]]:
        """Targets of parts of a step, with those of the other processes where they fit together."""
        if self.processes.is_alone or not self.by_samples:
            return targets
        return [
            tuple(
                gathered(self.processes, tensor, self.processes.sizes(len(some))) for tensor in own
            )
            for some, own in zip(chunks, targets, strict=True)
        ]

    def _target(self, indices: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """What the original returns for a batch, which is not remembered once samples change."""
        if self.features is not None:
            return self.teacher.watched(batch)
        if self.objective.distillation_weight == 0:
            return ()
        if self.augmentation is not None:
            return self.teacher.outputs(batch)
        return self.teacher.outputs_at(indices, batch)

    def evaluate(self) -> Evaluation | None:
        """The module as it stands, on the validation samples."""
        if self.validation is None:
            return None
        return evaluate(
            self.running,
            self.teacher,
            self.validation,
            self.objective,
            device=self.device,
            full_only=self.full_only,
            alive=self.alive,
            processes=self.processes,
        )

    def identity(self) -> Mapping[str, Any]:
        """What another run must share to go on from this one's checkpoint."""
        digest = hashlib.sha256()
        for name, tensor in sorted(weights_of(self.module).items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        return {
            "settings": self.config.identity(),
            "weights": digest.hexdigest(),
            "units": self.optimizer.units.num_units,
            "samples": self.train.num_samples,
        }


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
    _check_parts(config, full_only=full_only)
    execution = Execution(config)
    precision = Precision(config.precision, module, device)
    teacher = Teacher(module)
    probe = _probe(train, imported, config)
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
    features = features_for(config, module, first, binding, layout.num_units)
    if features is not None:
        teacher.watch(features.names)
        weight = config.feature_weight
        objective = replace(objective, features=features, feature_weight=weight)
    choose = _choose(
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


def _check_parts(config: TrainConfig, *, full_only: bool) -> None:
    if full_only and config.accumulate > 1:
        message = "the model takes batches of one size only, so accumulate must be 1"
        raise InputError(message, param="accumulate")


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


def _probe(train: Arrays, imported: ImportedModule, config: TrainConfig) -> Batches:
    """Some training samples, always the same."""
    order = np.random.default_rng((config.seed, 2)).permutation(train.num_samples)
    some = train.taken(np.sort(order[: config.probe_samples]))
    return Batches(some, imported.input_names, config.batch_size)


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


def _choose(
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
    choose = agreed(binding.chooser(config.target_ratio, config.quantity), module, processes)
    if config.operator_saliency == "criterion":
        return choose

    def loss() -> float:
        return probe_loss(running(), teacher, probe, objective, seed=config.seed)

    return with_ablation(
        choose,
        binding.operator_units,
        binding.pool_of_unit,
        lambda units_U: ablation_losses(layout, units_U, loss, alive=alive, processes=processes),
    )


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
