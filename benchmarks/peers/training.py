"""The training that every method gets: the same batches, optimiser, rates, loss and last choice.

A method may change the network before it (one shot) or bring an optimiser that does so on the way
(gradual). The loop is the product's in small, so that what is compared is what was cut.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.peers.data import Images
from optimizer.config import TrainConfig
from optimizer.trainer import Arrays
from optimizer.trainer.data import Batches
from optimizer.trainer.evaluation import Evaluation, evaluate
from optimizer.trainer.losses import Objective, as_tuple, objective_for
from optimizer.trainer.rates import learning_rate
from optimizer.trainer.teacher import Teacher

MakeOptimizer = Callable[[list[dict[str, object]]], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is trained towards, on what.

    Attributes:
        config: Settings of the product; learning rate, batches and loss are taken from it.
        teacher: The original network.
        train: Samples.
        validation: Samples that the best weights are chosen on.
        objective: The loss.
    """

    config: TrainConfig
    teacher: Teacher
    train: Batches
    validation: Batches
    objective: Objective

    @property
    def total_steps(self) -> int:
        """Steps of one run."""
        return self.config.epochs * self.train.per_epoch

    def gradients_at(self, step: int, module: nn.Module) -> None:
        """Leave the gradients of the batch of ``step`` in ``module``."""
        indices = self.train.indices(step, self.config.seed)
        batch = self.train.at(indices)
        target = self.teacher.outputs_at(indices, batch)
        loss = self.objective.loss(as_tuple(module(*batch.inputs)), target, batch.labels)
        if not torch.isfinite(loss):
            message = f"the loss is {float(loss)} at step {step}"
            raise FloatingPointError(message)
        loss.backward()

    def judged(self, module: nn.Module) -> Evaluation:
        """``module`` on the validation samples."""
        return evaluate(
            module, self.teacher, self.validation, self.objective, device=torch.device("cpu")
        )


def lesson_of(network: nn.Module, arrays: Images, config: TrainConfig) -> Lesson:
    """The lesson for students of ``network`` on ``arrays``."""
    train, validation = (
        Batches(
            Arrays(inputs={"": arrays[f"x_{split}"]}, labels=arrays[f"y_{split}"]),
            ["images"],
            config.batch_size,
        )
        for split in ("train", "val")
    )
    teacher = Teacher(network)
    teacher.remember(train, torch.device("cpu"))
    objective = objective_for(
        config.loss,
        teacher.outputs(train.at(torch.arange(8))),
        train.labels,
        distillation_weight=config.distillation_weight,
        temperature=config.temperature,
        label_smoothing=config.label_smoothing,
    )
    return Lesson(
        config=config, teacher=teacher, train=train, validation=validation, objective=objective
    )


def train_on(
    module: nn.Module,
    lesson: Lesson,
    *,
    make: MakeOptimizer | None = None,
    judge_from: int = 0,
) -> None:
    """Train ``module`` in place and leave the best weights in it.

    Args:
        module: The student, cut or to be cut.
        lesson: What to learn.
        make: Makes the optimiser from param_groups; the plain one of the settings if None.
        judge_from: First step whose weights may be chosen as the best.
    """
    config = lesson.config
    optimizer = (make or plain(config))(param_groups(module, config))
    best: Evaluation | None = None
    kept: dict[str, Tensor] = {}
    for step in range(lesson.total_steps):
        module.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, lesson.total_steps)
        optimizer.zero_grad()
        lesson.gradients_at(step, module)
        if config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
        optimizer.step()
        done = step + 1
        if (done % lesson.train.per_epoch and done != lesson.total_steps) or done < judge_from:
            continue
        judged = lesson.judged(module)
        if best is None or judged.is_better_than(best):
            best, kept = judged, copy.deepcopy(module.state_dict())
    module.load_state_dict(kept)
    module.eval()


def param_groups(module: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    """Weight decay on what has two axes or more, as the product does it."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def plain(config: TrainConfig) -> MakeOptimizer:
    """Torch's own optimiser with the product's settings."""
    if config.optimizer == "sgd":
        return lambda groups: torch.optim.SGD(
            groups, lr=config.peak_lr, momentum=config.momentum, nesterov=True
        )
    return lambda groups: torch.optim.AdamW(groups, lr=config.peak_lr)
