"""How good the network is: loss and accuracy over a split, and without single structures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from optimizer.bridge.random_draws import replayed
from optimizer.bridge.synchronising import unsynchronised
from optimizer.h2spg.units import UnitLayout, fill_zero
from optimizer.trainer.data import Batches
from optimizer.trainer.liveness import Alive, nobody_listens
from optimizer.trainer.losses import Objective, as_tuple
from optimizer.trainer.measures import Measure
from optimizer.trainer.processes import ALONE, Processes
from optimizer.trainer.teacher import Teacher

_STANDARD_ERRORS = 2


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Means over samples.

    Attributes:
        loss: Of the objective.
        accuracy: Share of samples, or of positions, put into their class (0..1); None where there
            are no classes.
        num_samples: How many there were.
        measure: Name of what labels are compared by (``measures``), an error for one; None without
            labels.
        value: Its value.
    """

    loss: float
    accuracy: float | None
    num_samples: int
    measure: str | None = None
    value: float | None = None

    def is_better_than(self, other: "Evaluation") -> bool:
        """Whether this one is to be preferred.

        By accuracy if it differs by more than twice its standard error, otherwise by loss: the best
        of many accuracies on few samples is a lucky one, not a good one.
        """
        if self.accuracy is None or other.accuracy is None:
            return self.loss < other.loss
        mean = (self.accuracy + other.accuracy) / 2
        error = math.sqrt(mean * (1 - mean) / self.num_samples)
        difference = self.accuracy - other.accuracy
        if abs(difference) > _STANDARD_ERRORS * error:
            return difference > 0
        return self.loss < other.loss


@torch.no_grad()
def evaluate(
    module: nn.Module,
    teacher: Teacher,
    batches: Batches,
    objective: Objective,
    *,
    device: torch.device,
    full_only: bool = False,
    alive: Alive = nobody_listens,
    processes: Processes = ALONE,
) -> Evaluation:
    """Judge ``module`` in inference form on ``batches``; its mode is put back afterwards.

    Each of several processes takes some of the batches.
    """
    was_training = module.training
    module.eval()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # of the measure
    num_samples, is_measured = 0, False
    for indices in processes.own_share(list(batches.in_order(full_only=full_only))):
        batch = batches.at(indices).to(device)
        outputs = as_tuple(module(*batch.inputs))
        target = teacher.outputs_again(batches, indices, batch)
        loss += objective.loss(outputs, target, batch.labels) * len(indices)
        tally = objective.tally(outputs, batch.labels)
        if tally is not None:
            is_measured = True
            sums += tally
        num_samples += len(indices)
        alive()
    module.train(was_training)
    own = torch.tensor([float(loss), num_samples, is_measured, *sums.tolist()], dtype=torch.float64)
    total, count, was_measured, *both = processes.summed(own).tolist()
    found = Evaluation(loss=total / count, accuracy=None, num_samples=round(count))
    return with_measure(found, objective.measure, both) if was_measured else found


def with_measure(found: Evaluation, measure: Measure | None, sums: Sequence[float]) -> Evaluation:
    """``found`` with the value that both sums of a measure make."""
    if measure is None:
        return found
    value = measure.value(*sums)
    accuracy = value if measure.is_accuracy else None
    return replace(found, accuracy=accuracy, measure=measure.name, value=value)


@torch.no_grad()
def probe_loss(
    module: nn.Module, teacher: Teacher, batches: Batches, objective: Objective, *, seed: int
) -> float:
    """The loss over ``batches`` in training form; leaves no trace in ``module`` or generators.

    With the statistics of the batch, since BatchNormalization would follow within a few steps what
    is ablated: judged with its old running statistics, a structure looks needed that is not.
    """
    was_training = module.training
    buffers = [buffer.clone() for buffer in module.buffers()]
    device = next(module.parameters()).device
    module.train()
    total = torch.zeros((), dtype=torch.float64, device=device)
    num_samples = 0
    fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with fork, unsynchronised(module), replayed(module):
        for number, indices in enumerate(batches.in_order(full_only=True)):
            batch = batches.at(indices).to(device)
            target = teacher.outputs_again(batches, indices, batch)
            torch.manual_seed(seed + number)  # what Dropout drops is the same for every structure
            outputs = as_tuple(module(*batch.inputs))
            loss = objective.loss(outputs, target, batch.labels)
            total += loss * len(indices)
            num_samples += len(indices)
    for buffer, before in zip(module.buffers(), buffers, strict=True):
        buffer.copy_(before)
    module.train(was_training)
    return float(total) / num_samples


@torch.no_grad()
def ablation_losses(
    layout: UnitLayout,
    units_U: Tensor,
    loss: Callable[[], float],
    *,
    alive: Alive = nobody_listens,
    processes: Processes = ALONE,
) -> Tensor:
    """How much the loss rises without each single unit; exact, by trying.

    Args:
        layout: Where the units are.
        units_U: Bool (U,), the units to try; one evaluation each.
        loss: Measures the loss of the network as it stands.
        alive: Called before every evaluation.
        processes: Each of them tries some of the units.

    Returns:
        float64 (U,), not negative; 0 where a unit was not tried. The weights are as before.
    """
    rise_U = torch.zeros(layout.num_units, dtype=torch.float64)
    whole = loss()
    for unit in processes.own_share(units_U.nonzero().flatten().tolist()):
        alive()
        only_U = torch.zeros(layout.num_units, dtype=torch.bool, device=layout.device)
        only_U[unit] = True
        rise_U[unit] = max(0.0, loss_without(layout, only_U, loss) - whole)
    return processes.summed(rise_U)


@torch.no_grad()
def loss_without(layout: UnitLayout, gone_U: Tensor, loss: Callable[[], float]) -> float:
    """The loss with the units of the bool (U,) at 0; the weights are put back afterwards."""
    places = layout.positions(gone_U.to(layout.device))
    before = {number: layout.tensors[number].clone() for number in places.tensors}
    fill_zero(layout.tensors, places)
    found = loss()
    for number, tensor in before.items():
        layout.tensors[number].copy_(tensor)
    return found
