"""The original model: what training is compared with, and what it learns from."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from optimizer.bridge.features import with_outputs
from optimizer.trainer.data import Batch, Batches
from optimizer.trainer.liveness import Alive, nobody_listens
from optimizer.trainer.losses import as_tuple

CACHE_BYTES = 256 << 20


class Teacher:
    """A frozen copy of a module as it was before training, in inference form."""

    def __init__(self, module: nn.Module) -> None:
        """Copy ``module``; what happens to it later does not matter here."""
        self._module = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        self._watched: nn.Module | None = None
        self._cached: tuple[Tensor, ...] | None = None
        self._recurring: dict[tuple[Batches, int, int], tuple[Tensor, ...]] = {}
        self._recurring_bytes = 0
        self._is_needed = True

    def retire(self) -> None:
        """Return nothing from now on: the loss is of labels alone."""
        self._is_needed, self._cached = False, None
        self._recurring.clear()

    @torch.no_grad()
    def outputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What the original model returns for ``batch``; nothing once it is retired."""
        if not self._is_needed:
            return ()
        return as_tuple(self._module(*batch.inputs))

    def watch(self, names: Sequence[str]) -> None:
        """Have ``watched`` return the tensors ``names`` too."""
        assert isinstance(self._module, fx.GraphModule)
        self._watched = with_outputs(self._module, names)

    @torch.no_grad()
    def watched(self, batch: Batch) -> tuple[Tensor, ...]:
        """What the original model returns for ``batch``, and behind it what is watched."""
        assert self._watched is not None
        return as_tuple(self._watched(*batch.inputs))

    def remember(
        self, batches: Batches, device: torch.device, *, alive: Alive = nobody_listens
    ) -> None:
        """Compute the outputs for all of ``batches`` once, if they fit into ``CACHE_BYTES``.

        Not where an output does not count samples along its first axis (anchors, a scalar, tokens
        of all samples in a row): which part belongs to a sample is then unknown.
        """
        if not self._is_needed:
            return
        parts: list[tuple[Tensor, ...]] = []
        for indices in batches.in_order(full_only=False):
            parts.append(self.outputs(batches.at(indices).to(device)))
            alive()
            if any(not t.dim() or len(t) != len(indices) for t in parts[-1]):
                return
            held = sum(tensor.nbytes for tensor in parts[0])
            if held * batches.num_samples > CACHE_BYTES * len(indices):
                return
        self._cached = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def outputs_at(self, indices: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The outputs for ``batch``, which are the samples ``indices`` of what was remembered."""
        if self._cached is None:
            return self.outputs(batch)
        return tuple(tensor[indices.to(tensor.device)] for tensor in self._cached)

    def outputs_again(self, batches: Batches, indices: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The outputs for ``batch``, one of those that are gone through in order again and again.

        Kept as long as all that is kept so fits into ``CACHE_BYTES``.

        Args:
            batches: Where the batch comes from; told apart by identity.
            indices: int64 (batch,), consecutive.
            batch: The samples ``indices``.
        """
        key = (batches, int(indices[0]), len(indices))
        found = self._recurring.get(key)
        if found is None:
            found = self.outputs(batch)
            size = sum(tensor.nbytes for tensor in found)
            if self._recurring_bytes + size <= CACHE_BYTES:
                self._recurring[key] = found
                self._recurring_bytes += size
        return found
