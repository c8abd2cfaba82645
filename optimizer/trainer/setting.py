"""What a run works with and does not change: data, teacher, objective, the form that it runs in."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from optimizer.bridge.module import ImportedModule
from optimizer.bridge.renormalising import Renormalised
from optimizer.config import TrainConfig
from optimizer.h2spg import H2SPG
from optimizer.trainer.augmentation import Augmentation
from optimizer.trainer.data import Batch, Batches
from optimizer.trainer.evaluation import Evaluation, evaluate
from optimizer.trainer.execution import Execution
from optimizer.trainer.features import Features
from optimizer.trainer.liveness import Alive
from optimizer.trainer.losses import Objective, as_tuple
from optimizer.trainer.precision import Precision
from optimizer.trainer.processes import Processes, no_sync
from optimizer.trainer.replicas import Replicas
from optimizer.trainer.sharing import gathered, shared_loss
from optimizer.trainer.starting import Started
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

    def used(self) -> Mapping[str, Any]:
        """What became of the settings that are chosen while a run is made ready."""
        share, task, precision = (
            self.objective.distillation_weight,
            self.objective.task,
            self.precision,
        )
        return {
            "loss": task.name if task is not None and share < 1 else None,
            "distillation": share,
            "lr": self.config.peak_lr,
            "batch_size": self.train.batch_size,
            "comparison": self.config.comparison,
            "precision": str(precision.dtype).removeprefix("torch.") if precision.dtype else None,
        }

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
