"""Small parameters with units on them, for the tests of H2SPG."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from optimizer.h2spg import UnitLayout, UnitSlices

NUM_UNITS = 5  # 0..3: channels of the hidden layer; 4: the skip, removed as a whole
HIDDEN = 4


def network(dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.ModuleDict:
    """y = out(relu(hidden(x))) + skip(x), with a scalar gain on the skip."""
    torch.manual_seed(seed)
    layers = nn.ModuleDict(
        {
            "hidden": nn.Linear(3, HIDDEN),
            "out": nn.Linear(HIDDEN, 2),
            "skip": nn.Linear(3, 2, bias=False),
        }
    )
    layers.register_parameter("gain", nn.Parameter(torch.tensor(1.5)))
    return layers.to(dtype)


def forward(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    hidden = torch.relu(layers["hidden"](x))
    result: Tensor = layers["out"](hidden) + layers.gain * layers["skip"](x)
    return result


def layout(layers: nn.ModuleDict, *, num_units: int = NUM_UNITS) -> UnitLayout:
    channels = torch.arange(HIDDEN)
    whole = torch.full((2,), HIDDEN)
    slices = [
        UnitSlices(layers["hidden"].weight, 0, channels),
        UnitSlices(layers["hidden"].bias, 0, channels),
        UnitSlices(layers["out"].weight, 1, channels),
        UnitSlices(layers["skip"].weight, 0, whole),
        UnitSlices(layers.gain, 0, torch.tensor([HIDDEN])),
    ]
    pools = torch.tensor([0, 0, 0, 0, 1])
    return UnitLayout(slices, num_units=num_units, pool_of_unit=pools)


def loss_of(layers: nn.ModuleDict, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    dtype = layers.gain.dtype
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randn(8, 2, generator=generator, dtype=torch.float64).to(dtype)
    return (forward(layers, x) - y).square().mean()


def run(
    layers: nn.ModuleDict, optimizer: torch.optim.Optimizer, steps: range
) -> Mapping[str, Tensor]:
    for step in steps:
        optimizer.zero_grad()
        loss_of(layers, step).backward()
        optimizer.step()
    return layers.state_dict()


def choose_nothing(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
    return removed


def choosing(*units: int) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Remove ``units`` one after the other as the fraction grows."""

    def choose(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        chosen = removed.clone()
        chosen[list(units[: round(len(units) * fraction)])] = True
        return chosen

    return choose


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Bitwise."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
