"""What training samples go through before a step, and what does not fit that."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from optimizer.bridge.module import ImportedModule
from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.trainer.augmentation.erasing import erased
from optimizer.trainer.augmentation.geometry import flipped_and_cropped
from optimizer.trainer.augmentation.layouts import is_channels_last
from optimizer.trainer.augmentation.mixing import drawn
from optimizer.trainer.augmentation.random_operations import randomly_operated
from optimizer.trainer.data import Batch
from optimizer.trainer.losses import Objective
from optimizer.trainer.tasks import Task

_IMAGE_AXES = 4
_MARGIN = 8  # a picture is shifted by up to 1/8 of its size
_STREAM = 3  # apart from the other random numbers of a run


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to a batch; a function of seed, stream and step.

    Attributes:
        augment: ``none``, ``flip-crop`` or ``rand``.
        magnitude: Of the operations of ``rand``, and how likely it erases (0..1).
        mixup: alpha, 0 for none.
        cutmix: alpha, 0 for none.
        seed: Of the run.
        stream: Apart for every process that trains on samples of its own.
        channels_last: Whether images are (N, H, W, C).
        task: What mixed labels are for; None where labels have no share in the loss.
    """

    augment: str
    magnitude: float
    mixup: float
    cutmix: float
    seed: int
    stream: int = 0
    channels_last: bool = False
    task: Task | None = None

    @torch.no_grad()
    def applied(self, batch: Batch, step: int) -> Batch:
        """The batch of ``step`` as the module is to see it.

        Args:
            batch: On the device.
            step: Counts from 0.
        """
        rng = np.random.default_rng((self.seed, _STREAM, self.stream, step))
        if self.augment != "none":
            device = batch.inputs[0].device
            generator = torch.Generator(device).manual_seed(int(rng.integers(1 << 62)))
            batch = replace(batch, inputs=(self._changed(batch.inputs[0], generator),))
        return self._mixed(batch, rng) if self.mixup or self.cutmix else batch

    def _changed(self, image: Tensor, generator: torch.Generator) -> Tensor:
        x_NCHW = self._channels_first(image.float())
        draws = (3, len(x_NCHW))
        draws_3N = torch.rand(draws, generator=generator, device=image.device)
        shifts = []
        for size, draws_N in zip(x_NCHW.shape[2:], draws_3N[1:], strict=True):
            most = size // _MARGIN
            shifts.append((draws_N * (2 * most + 1)).floor().long() - most)
        x_NCHW = flipped_and_cropped(x_NCHW, draws_3N[0] < 0.5, *shifts)
        if self.augment == "rand":
            x_NCHW = randomly_operated(x_NCHW, self.magnitude, generator)
            x_NCHW = erased(x_NCHW, self.magnitude, generator)
        if self.channels_last:
            x_NCHW = x_NCHW.permute(0, 2, 3, 1).contiguous()
        return x_NCHW.to(image.dtype)

    def _mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        size = None
        if self.cutmix:
            height, width = self._channels_first(batch.inputs[0]).shape[2:]
            size = (height, width)
        mix = drawn(mixup=self.mixup, cutmix=self.cutmix, size=size, rng=rng)
        inputs = tuple(
            self._as_given(mix.of_inputs(self._channels_first(each))) for each in batch.inputs
        )
        labels = batch.labels
        if labels is not None and self.task is not None:
            labels = mix.of_labels(self.task.soft(labels))
        return Batch(inputs, labels)

    def _channels_first(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2) if self.channels_last else image

    def _as_given(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.permute(0, 2, 3, 1).contiguous() if self.channels_last else x_NCHW


def augmentation_for(
    config: TrainConfig,
    imported: ImportedModule,
    inputs: tuple[Tensor, ...],
    objective: Objective,
) -> Augmentation | None:
    """The augmentation that the settings ask for; None for none.

    Args:
        config: Settings.
        imported: The network.
        inputs: Of one batch, in graph order.
        objective: Of the run.

    Raises:
        InputError: It does not fit the inputs, or would make labels wrong.
    """
    if config.augment == "none" and not config.mixup and not config.cutmix:
        return None
    is_image = len(inputs) == 1 and inputs[0].dim() == _IMAGE_AXES
    are_floats = all(each.is_floating_point() for each in inputs)
    if not are_floats or (not is_image and (config.augment != "none" or config.cutmix)):
        param = "augment" if config.augment != "none" else "cutmix" if config.cutmix else "mixup"
        needed = "float inputs" if param == "mixup" else "one float input of four axes, an image"
        shapes = ", ".join(f"{each.dtype} {list(each.shape)}" for each in inputs)
        message = f"{param}={getattr(config, param)} needs {needed}; the model takes {shapes}"
        raise InputError(message, param=param)
    task = objective.task if objective.distillation_weight < 1 else None
    _check_labels(config, task)
    return Augmentation(
        augment=config.augment,
        magnitude=config.augment_magnitude,
        mixup=config.mixup,
        cutmix=config.cutmix,
        seed=config.seed,
        channels_last=is_image and is_channels_last(imported, tuple(inputs[0].shape)),
        task=task,
    )


def _check_labels(config: TrainConfig, task: Task | None) -> None:
    """Labels must stay right, or be changed along."""
    if task is None:
        return
    if (config.augment != "none" or config.cutmix) and not task.ignores_geometry:
        param = "augment" if config.augment != "none" else "cutmix"
        message = (
            f"{param} moves pixels, but labels of loss '{task.name}' would stay where they are; "
            "set loss to 'distillation', which uses none, or leave it out"
        )
        raise InputError(message, param=param)
    if config.mixup and not task.mixes_labels:
        message = f"mixup cannot mix labels of loss '{task.name}'; set loss to 'distillation'"
        raise InputError(message, param="mixup")
