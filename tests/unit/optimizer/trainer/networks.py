"""A tiny network with normalisation and a removable branch, data for it, and a fake binding."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from optimizer.bridge.module import ImportedModule
from optimizer.h2spg import UnitLayout, UnitSlices
from optimizer.trainer import ArrayData, Arrays, TrainConfig

HIDDEN, NUM_CLASSES = 6, 3
BRANCH = HIDDEN  # the unit that is the whole branch
NUM_UNITS = HIDDEN + 1


class Network(nn.Module):
    """out(drop(relu(norm(first(x))))) + branch(x): class scores (N, 3) of points (N, 2)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(2, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(HIDDEN, NUM_CLASSES)
        self.branch = nn.Linear(2, NUM_CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.drop(torch.relu(self.norm(self.first(x))))
        scores: Tensor = self.out(hidden) + self.branch(x)
        return scores


def imported(*, seed: int = 0, dropout: float = 0.1, batch_is_free: bool = True) -> ImportedModule:
    torch.manual_seed(seed)
    module = fx.symbolic_trace(Network(dropout))
    return ImportedModule(
        module=module,
        input_names=("points",),
        output_names=("scores",),
        paths={name: name for name, _ in (*module.named_parameters(), *module.named_buffers())},
        batch_is_free=batch_is_free,
    )


def samples(num_samples: int, *, seed: int) -> Arrays:
    """Three noisy clusters, and their numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, num_samples)
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    points = centres[labels] + rng.normal(0, 0.5, (num_samples, 2))
    return Arrays(inputs={"points": points.astype(np.float32)}, labels=labels)


def data(*, labelled: bool = True) -> ArrayData:
    train, validation = samples(64, seed=1), samples(32, seed=2)
    if labelled:
        return ArrayData(train=train, validation=validation)
    return ArrayData(train=Arrays(inputs=train.inputs), validation=Arrays(inputs=validation.inputs))


def config(**settings: object) -> TrainConfig:
    """24 steps: warm-up 0-3, search 4-8, hybrid 9-13, converged 14-23."""
    plan = {
        "target_ratio": 0.5,
        "epochs": 6,
        "batch_size": 16,
        "warm_up_ratio": 1 / 6,
        "search_ratio": 10 / 24,
        "periods": 2,
        "checkpoint_steps": 4,
        "checkpoint_seconds": 1e6,
        "device": "cpu",
    }
    return TrainConfig(**{**plan, **settings})  # type: ignore[arg-type]


@dataclass
class FakeBinding:
    """Every unit costs the same; half of them may go, the least salient first."""

    imported: ImportedModule
    on_choose: Callable[[Tensor], None] = lambda _: None

    @property
    def operator_units(self) -> Tensor:
        return torch.arange(NUM_UNITS) == BRANCH

    @property
    def pool_of_unit(self) -> Tensor:
        return self.operator_units.long()

    def layout(self) -> UnitLayout:
        tensors = self.imported.tensors
        channels = torch.arange(HIDDEN)
        whole = torch.full((NUM_CLASSES,), BRANCH)
        slices = [
            UnitSlices(tensors["first.weight"], 0, channels),
            UnitSlices(tensors["first.bias"], 0, channels),
            UnitSlices(tensors["norm.weight"], 0, channels),
            UnitSlices(tensors["norm.bias"], 0, channels),
            UnitSlices(tensors["out.weight"], 1, channels),
            UnitSlices(tensors["branch.weight"], 0, whole),
        ]
        return UnitLayout(slices, num_units=NUM_UNITS, pool_of_unit=self.pool_of_unit)

    def chooser(self, target_ratio, quantity):
        def choose(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
            self.on_choose(saliency)
            count = round((1 - target_ratio) * NUM_UNITS * fraction)
            chosen = removed.clone()
            order = saliency.masked_fill(removed, -1).argsort()
            chosen[order[:count]] = True
            return chosen

        return choose

    def remaining_ratio(self, removed: Tensor, quantity) -> float:
        return 1 - int(removed.sum()) / NUM_UNITS

    def solution(self, removed: Tensor) -> frozenset[int]:
        return frozenset(removed.nonzero().flatten().tolist())
