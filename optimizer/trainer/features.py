"""Distillation of what the original model computes on the way, not only of its outputs.

The relative mean square error at some tensors, over the positions that stay. The module computes
them as further outputs of a view that has the same weights, so nothing is hooked into it. What is
compared follows from the units that were chosen to go, so it is no state of its own.

Shape letters: U units.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, fx

from optimizer.bridge.features import Place, Positions, nodes_by_tensor, with_outputs
from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.trainer.data import Batch
from optimizer.trainer.distances import relative_error

MOST = 8  # tensors that are compared
Locate = Callable[[Sequence[str], Tensor, Tensor | None], Sequence[Place]]


class FeatureSource(Protocol):
    """What is asked of a bound search space; ``optimizer.bridge.binding`` is the real one."""

    def feature_names(self, module: fx.GraphModule, most: int) -> Sequence[str]:
        """Tensors inside of the whole module that can be compared with the original's."""

    def feature_places(
        self, names: Sequence[str], removed_U: Tensor, cut_U: Tensor | None = None
    ) -> Sequence[Place]:
        """What is left of them without the units that go, in a module without those cut out."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What is compared with what: positions by axis, all of an axis where it is not named."""

    number: int  # of the teacher's tensor
    teacher: Mapping[int, Tensor]
    student: Mapping[int, Tensor]


class Features:
    """The tensors that a run compares with the original's, as the network stands."""

    def __init__(
        self, names: Sequence[str], locate: Locate, device: torch.device, removed_U: Tensor
    ) -> None:
        """Compare the tensors ``names``.

        Args:
            names: Of the whole network.
            locate: What is left of them, given bool (U,) of the units that go, and of those that
                have been cut out already.
            device: Where the module runs.
            removed_U: Bool (U,), the units that go.
        """
        self.names = tuple(names)
        self._locate = locate
        self._device = device
        self._places: tuple[Place, ...] = ()
        self._pairs: tuple[_Pair, ...] = ()
        self._view: tuple[fx.Graph, fx.GraphModule] | None = None
        self.follow(removed_U)

    @property
    def compared(self) -> tuple[str, ...]:
        """Those that are left to be compared."""
        return tuple(place.tensor for place in self._places)

    def follow(self, removed_U: Tensor, cut_U: Tensor | None = None) -> None:
        """Take notice that units were chosen to go, or were cut out of the module.

        Args:
            removed_U: Bool (U,), all units that go.
            cut_U: Bool (U,), those of them that the module does not have any more.
        """
        self._places = tuple(self._locate(self.names, removed_U.cpu(), cut_U))
        self._view = None

    def view(self, module: fx.GraphModule) -> fx.GraphModule:
        """``module`` with the features behind its outputs, in the same mode.

        Made anew where the graph of ``module`` was replaced, or what is compared has changed.
        """
        if self._view is None or self._view[0] is not module.graph:
            made = nodes_by_tensor(module)
            self._places = tuple(place for place in self._places if place.now in made)
            self._pairs = tuple(self._pair(place) for place in self._places)
            view = with_outputs(module, [place.now for place in self._places])
            self._view = module.graph, view
        found = self._view[1]
        if found.training != module.training:
            found.train(module.training)
        return found

    def distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Mean of the relative errors; 0 where nothing is left to compare.

        Args:
            student: What the view of the module in training adds to its outputs.
            teacher: All tensors ``names`` of the original model.
        """
        errors = [
            relative_error(_taken(own, pair.student), _taken(teacher[pair.number], pair.teacher))
            for own, pair in zip(student, self._pairs, strict=True)
        ]
        return torch.stack(errors).mean() if errors else teacher[0].new_zeros(())

    def _pair(self, place: Place) -> _Pair:
        inside = {
            axis: np.searchsorted(present, place.kept.get(axis, present))
            for axis, present in place.present.items()
        }
        return _Pair(
            number=self.names.index(place.tensor),
            teacher=self._on_device(place.kept),
            student=self._on_device({**place.kept, **inside}),
        )

    def _on_device(self, positions: Positions) -> dict[int, Tensor]:
        return {axis: torch.from_numpy(p).to(self._device) for axis, p in positions.items()}


def features_for(
    config: TrainConfig,
    module: fx.GraphModule,
    batch: Batch,
    binding: FeatureSource,
    num_units: int,
) -> Features | None:
    """The features that the settings ask for; None for none.

    Args:
        config: Settings.
        module: Whole, on its device.
        batch: Samples, on the same device.
        binding: Knows what can be compared.
        num_units: U.

    Raises:
        InputError: There are none to compare.
    """
    if not config.feature_weight:
        return None
    names = binding.feature_names(module, MOST)
    usable = _counting_samples(module, batch, names) if names else ()
    if not usable:
        message = (
            "feature_weight needs tensors inside of the network to compare, which count samples "
            "along their first axis, and there are none; leave it out"
        )
        raise InputError(message, param="feature_weight")
    nothing_U = torch.zeros(num_units, dtype=torch.bool)
    return Features(usable, binding.feature_places, batch.inputs[0].device, nothing_U)


@torch.no_grad()
def _counting_samples(
    module: fx.GraphModule, batch: Batch, names: Sequence[str]
) -> tuple[str, ...]:
    was_training = module.training
    outputs = with_outputs(module.eval(), names)(*batch.inputs)[-len(names) :]
    module.train(was_training)
    count = len(batch.inputs[0])
    pairs: Iterable[tuple[str, Tensor]] = zip(names, outputs, strict=True)
    return tuple(name for name, one in pairs if one.dim() > 1 and len(one) == count)


def _taken(tensor: Tensor, positions: Mapping[int, Tensor]) -> Tensor:
    for axis, index in positions.items():
        tensor = tensor.index_select(axis, index)
    return tensor
