"""The loss of a step whose samples are spread over processes: that of the whole step, in each.

Which losses there are, and whether they are means, is not known here: the outputs of all processes
are put together, and each computes the loss of all samples. Its gradient goes back through the
process' own outputs only; over all processes that is the gradient of the whole.

Shape letters: N samples of the whole step.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.h2spg import Choose
from optimizer.trainer.data import Batches
from optimizer.trainer.losses import Objective
from optimizer.trainer.processes import Processes
from optimizer.trainer.teacher import Teacher

FEWEST_SAMPLES = 2  # of one there are no statistics of a batch
_COMPARED = 64  # samples


def shared_loss(
    processes: Processes,
    objective: Objective,
    outputs: Sequence[Tensor],
    target: Sequence[Tensor],
    labels: Tensor | None,
    *,
    num_samples: int,
    by_samples: bool,
) -> Tensor:
    """The loss of the whole step, with a gradient that is right once processes are averaged.

    1. Alone: the objective's.
    2. ``by_samples``: of all outputs put together; exact whatever the objective is.
    3. Otherwise (an output does not count samples along axis 0, so parts of it cannot be put
       together): the mean of the processes' losses, weighted by their samples.

    Args:
        processes: Of the run.
        objective: The loss of a batch.
        outputs: Of this process' samples.
        target: Of the original model on them.
        labels: Theirs.
        num_samples: N.
        by_samples: Whether all outputs count samples, as ``counts_samples`` says.
    """
    if processes.is_alone:
        return objective.loss(outputs, target, labels)
    if not by_samples:
        return _weighted(processes, objective.loss(outputs, target, labels), num_samples)
    sizes = processes.sizes(num_samples)
    own = [_averaged(output, processes.size) for output in outputs]
    everything = [gathered(processes, tensor, sizes) for tensor in own]
    targets = [gathered(processes, tensor, sizes) for tensor in target]
    labels = None if labels is None else gathered(processes, labels, sizes)
    return objective.loss(everything, targets, labels)


def counts_samples(teacher: Teacher, probe: Batches, device: torch.device) -> bool:
    """Whether every output has one entry per sample along its axis 0; tried with two sizes."""
    first = next(probe.in_order(full_only=True))
    for count in {len(first), max(1, len(first) - 1)}:
        outputs = teacher.outputs(probe.at(first[:count]).to(device))
        if any(not output.dim() or len(output) != count for output in outputs):
            return False
    return True


def check_shareable(
    processes: Processes, batches: Batches, config: TrainConfig, *, batch_is_free: bool
) -> None:
    """Refuse steps that cannot be spread over the processes.

    Raises:
        InputError: The model fixes its batch size, a part of a step has fewer samples than
            processes, or the budget is a measured time.
    """
    if processes.is_alone:
        return
    if not batch_is_free:
        message = (
            f"the model fixes its batch size at {batches.batch_size}, so its "
            f"steps cannot be spread over {processes.size} processes; use one process"
        )
        raise InputError(message, param="batch_size")
    if batches.batch_size // config.accumulate < processes.size:
        parts = f" in {config.accumulate} parts" if config.accumulate > 1 else ""
        message = (
            f"a step has {batches.batch_size} samples{parts}, too few for {processes.size} "
            "processes; use a larger batch size or fewer processes"
        )
        raise InputError(message, param="batch_size")
    if config.quantity == "latency":
        message = (
            "a budget of latency is measured while training, and processes that train side by side "
            "disturb each other's measurements; use one process, or another quantity"
        )
        raise InputError(message, param="quantity")


def without_gradient(module: nn.Module, loss: Callable[[], Tensor]) -> list[str]:
    """Paths of the trained parameters that ``loss`` does not depend on, in training form.

    Leaves no trace in tensors of ``module`` or torch's generators.
    """
    buffers = [buffer.detach().clone() for buffer in module.buffers()]
    device, was_training = next(module.parameters()).device, module.training
    module.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        reached = _leaves(loss())
    with torch.no_grad():
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.copy_(before)
    module.train(was_training)
    trained = [(path, each) for path, each in module.named_parameters() if each.requires_grad]
    return [path for path, parameter in trained if id(parameter) not in reached]


def _leaves(loss: Tensor) -> set[int]:
    """``id`` of every tensor that a backward pass from ``loss`` would give a gradient."""
    found, seen = set(), set()
    left: list[Any] = [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        left += [before for before, _ in node.next_functions]
    return found


def check_same_run(processes: Processes, identity: Mapping[str, Any], batches: Batches) -> None:
    """Compare settings, model and data of the processes, as far as that is cheap.

    Args:
        processes: Of the run.
        identity: Of the setting.
        batches: Samples to train on; the first few are compared.

    Raises:
        DisagreementError: They are not of one run.
    """
    if processes.is_alone:
        return
    text = np.frombuffer(json.dumps(identity, sort_keys=True).encode(), np.uint8).copy()
    processes.check_agreement([torch.from_numpy(text)], "settings or another model")
    some = batches.at(torch.arange(min(batches.num_samples, _COMPARED)))
    given = [*some.inputs, *([] if some.labels is None else [some.labels])]
    processes.check_agreement(given, "samples")


def agreed(choose: Choose, module: nn.Module, processes: Processes) -> Choose:
    """Let ``choose`` decide the same in all processes.

    Sums on a GPU may differ in their last bit from one run to the next, so all take the first
    one's saliencies. What has to be equal anyway is checked: the weights, and what was chosen.

    Args:
        choose: Decides from saliencies.
        module: In training; its parameters are compared.
        processes: Of the run.

    Raises:
        DisagreementError: By what is returned, at a decision.
    """
    if processes.is_alone:
        return choose

    def choose_together(saliency_U: Tensor, removed_U: Tensor, fraction: float) -> Tensor:
        processes.check_agreement([*module.parameters(), removed_U], "weights")
        chosen_U = choose(processes.tensor_from_first(saliency_U), removed_U, fraction)
        processes.check_agreement([chosen_U], "choices")
        return chosen_U

    return choose_together


class _Averaged(torch.autograd.Function):
    """The identity; makes up for the division by the number of processes that comes later."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size = size
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.size, None


def _averaged(x: Tensor, size: int) -> Tensor:
    found: Tensor = _Averaged.apply(x, size)  # type: ignore[no-untyped-call]
    return found


def gathered(processes: Processes, own: Tensor, sizes: Sequence[int]) -> Tensor:
    """The parts of all processes along axis 0; only ``own`` has a gradient."""
    if len(own) != sizes[processes.rank]:
        message = f"an output has {len(own)} entries for {sizes[processes.rank]} samples"
        raise InputError(message, code="model-no-io")
    padded = own.detach().contiguous()
    if len(own) < max(sizes):
        padded = torch.cat([padded, padded[:1]])
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    cut = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    cut[processes.rank] = own
    return torch.cat(cut)


def _weighted(processes: Processes, loss: Tensor, num_samples: int) -> Tensor:
    share = loss * (processes.sizes(num_samples)[processes.rank] / num_samples)
    total = share.detach().clone()
    dist.all_reduce(total)
    scaled = share * processes.size
    return total + (scaled - scaled.detach())
