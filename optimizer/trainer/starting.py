"""Where the weights of a run begin: as the file has them, or drawn anew (PAPER.md 1.3: one shot).

From scratch there is no original to learn from or to be compared with: the loss is the task's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optimizer.bridge.folding import InsertedNorm
from optimizer.bridge.fresh import redraw
from optimizer.bridge.module import ImportedModule
from optimizer.errors import InputError
from optimizer.trainer.incidents import TrainEvent
from optimizer.trainer.losses import Objective


@dataclass(frozen=True, kw_only=True)
class Started:
    """What was done to begin from scratch.

    Attributes:
        drawn: Tensors that got new values.
        kept: Weights that have the file's, because no rule says what they should begin with.
        of_file: What was in the file of the tensors that do not train (running statistics), which
            tells them from what the surgeon computes.
    """

    drawn: int
    kept: tuple[str, ...]
    of_file: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def event(self) -> TrainEvent:
        """For the job's history."""
        message = f"training from scratch: {self.drawn} tensors begin anew"
        if self.kept:
            message += f", {len(self.kept)} keep the values of the file"
        data = {"drawn": self.drawn, "kept": list(self.kept)}
        return TrainEvent(code="from-scratch", message=message, data=data)


def check_has_task(objective: Objective) -> None:
    """Refuse a loss that needs the original network.

    Raises:
        InputError: There are no labels, or they are no classes of the first output.
    """
    if objective.distillation_weight > 0:
        message = (
            "start 'scratch' learns from labels alone: it needs them, and a first output of shape "
            "(samples, classes)"
        )
        raise InputError(message, code="dataset-labels", param="start")


def draw_weights(imported: ImportedModule, *, seed: int) -> Started:
    """Give the trained weights and running statistics of ``imported`` new values, in place.

    Raises:
        InputError: There is nothing that could be drawn.
    """
    tensors = imported.tensors
    replaced = tensors.keys() & imported.fresh.keys()
    of_file = {name: tensors[name].clone() for name in replaced if not tensors[name].requires_grad}
    kept = redraw(tensors, imported.fresh, seed=seed)
    if not replaced:
        message = "start 'scratch' found no weight that it knows how to begin with"
        raise InputError(message, param="start")
    return Started(drawn=len(replaced), kept=kept, of_file=of_file)


@torch.no_grad()
def flatten_insertions(imported: ImportedModule) -> None:
    """Scale 1 and shift 0 for inserted normalisations: there is no function to be kept."""
    for insertion in imported.insertions:
        norm = imported.module.get_submodule(insertion.path)
        assert isinstance(norm, InsertedNorm)
        norm.gamma.fill_(1.0)
        imported.tensors[insertion.bias].zero_()
