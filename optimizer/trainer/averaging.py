"""The moving average of the weights after the arrival, a candidate for the result like they are.

It begins with the weights at the arrival: what is removed is exactly 0 from its first value on, and
no weight of a wider network is averaged in.
"""

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from optimizer.h2spg import H2SPG
from optimizer.h2spg.units import fill_zero
from optimizer.trainer.state import weights_of


class MovingAverage:
    """Follows a module: ``a <- d a + (1 - d) w`` with ``d = min(decay, (1 + n) / (10 + n))``.

    After n steps; the smaller d of the first steps forgets the beginning (as in TensorFlow's
    ExponentialMovingAverage). Running statistics are averaged with the weights that they belong to;
    integers, and what is not finite (the -inf of a mask), are copied.

    Attributes:
        tensors: Path to average of the parameters and buffers, on their device; empty before the
            arrival. One object for the whole run.
        steps: n.
    """

    def __init__(self, decay: float, names: Container[str] | None = None) -> None:
        """Begin with nothing.

        Args:
            decay: d after many steps.
            names: Paths of what is followed, where a module may come to hold other tensors.
        """
        self._decay = decay
        self._names = names
        self._paths: list[str] | None = None  # of what is averaged, not copied
        self.tensors: dict[str, Tensor] = {}
        self.steps = 0

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Take in the weights after a step; the first call begins with them."""
        live = self._live(module)
        if not self.tensors:
            self.tensors |= {name: tensor.detach().clone() for name, tensor in live.items()}
            return
        if self._paths is None:
            self._paths = [name for name, one in self.tensors.items() if _is_averaged(one)]
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        mine = [self.tensors[name] for name in self._paths]
        torch._foreach_lerp_(mine, [live[name] for name in self._paths], 1 - decay)
        for name in self.tensors.keys() - set(self._paths):
            self.tensors[name].copy_(live[name])

    @contextmanager
    def in_place_of(self, module: nn.Module, optimizer: H2SPG) -> Iterator[None]:
        """Let ``module`` hold the average for a while; then its own weights, bit for bit."""
        live = self._live(module)
        own = {name: tensor.detach().clone() for name, tensor in live.items()}
        _overwrite(live, self.tensors)
        with torch.no_grad():
            # zero already, unless units went to zero since the average began
            fill_zero(optimizer.units.tensors, optimizer.units.positions(optimizer.zero))
        try:
            yield
        finally:
            _overwrite(live, own)

    def restore(self, tensors: Mapping[str, Tensor], module: nn.Module, steps: int) -> None:
        """Go on from what a checkpoint holds; nothing where the average had not begun."""
        live = self._live(module)
        self.tensors.clear()
        self.tensors |= {name: one.to(live[name].device).clone() for name, one in tensors.items()}
        self.steps, self._paths = steps, None

    def _live(self, module: nn.Module) -> dict[str, Tensor]:
        live, names = weights_of(module), self._names
        return {name: one for name, one in live.items() if names is None or name in names}


@torch.no_grad()
def _overwrite(live: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, target in live.items():
        target.copy_(tensors[name])


def _is_averaged(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())
