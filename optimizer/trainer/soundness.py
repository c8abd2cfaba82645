"""Whether the weights of a run are ones to go on from."""

from collections.abc import Container

import torch
from torch import nn

from optimizer.trainer.state import weights_of


class Soundness:
    """Looks for weights and statistics that are no longer finite.

    What is infinite in the file (the -inf of an attention mask) may stay so; NaN never may.
    """

    def __init__(self, module: nn.Module, names: Container[str]) -> None:
        """Take ``module`` as it is now for a sound one.

        Args:
            module: In training.
            names: Paths of what is looked at, where it may come to hold other tensors.
        """
        self._module = module
        self._names = names
        tensors = weights_of(module).items()
        self._infinite = {name for name, one in tensors if not bool(torch.isfinite(one).all())}

    def holds(self) -> bool:
        """Whether all of them are sound."""
        return all(
            not bool(torch.isnan(one).any())
            if name in self._infinite
            else bool(torch.isfinite(one).all())
            for name, one in weights_of(self._module).items()
            if name in self._names
        )
