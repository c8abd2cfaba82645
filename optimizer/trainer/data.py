"""Arrays to train on, and the order in which they are seen.

A batch is a function of (seed, step): nothing about the order has to be remembered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from optimizer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One split of a data set.

    Attributes:
        inputs: Input name to array, samples along axis 0; the key "" stands for the only input.
        labels: One label per sample along axis 0, or None: class numbers (N,) or of positions
            (N, ...), yes or no of several labels (N, K), numbers of a regression; ``choosing``
            says what fits which output.
    """

    inputs: Mapping[str, npt.NDArray[np.generic]]
    labels: npt.NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together.

        Raises:
            InputError: No inputs or no samples, lengths that differ, or labels that are no numbers.
        """
        if self.labels is not None and (
            not self.labels.ndim or self.labels.dtype.kind not in "biuf"
        ):
            message = f"labels are numbers along an axis of samples, not {self.labels.dtype}"
            raise InputError(message, code="dataset-labels")
        lengths = {name: len(array) for name, array in self.inputs.items()}
        if self.labels is not None:
            lengths["labels"] = len(self.labels)
        if not self.inputs or len(set(lengths.values())) != 1:
            message = f"inputs and labels must hold equally many samples, got {lengths}"
            raise InputError(message, code="dataset-columns")
        if not self.num_samples:
            message = "the data set has no samples"
            raise InputError(message, code="dataset-too-small")

    @cached_property
    def num_samples(self) -> int:
        """N."""
        return len(next(iter(self.inputs.values())))

    def taken(self, chosen: npt.NDArray[np.int64] | slice) -> "Arrays":
        """The samples ``chosen``, in that order."""
        inputs = {name: array[chosen] for name, array in self.inputs.items()}
        return Arrays(inputs=inputs, labels=None if self.labels is None else self.labels[chosen])


@dataclass(frozen=True, kw_only=True)
class ArrayData:
    """What a run may look at; test data is not part of it.

    Attributes:
        train: Trained on.
        validation: The best weights are picked on it; a part of ``train`` is held out if None.
    """

    train: Arrays
    validation: Arrays | None = None


@dataclass(frozen=True)
class Batch:
    """Samples as the module takes them: ``inputs`` in graph order, ``labels`` int64 or float32."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None

    @property
    def num_samples(self) -> int:
        """N, along axis 0 of the first input."""
        return len(self.inputs[0])

    def to(self, device: torch.device) -> "Batch":
        """The same on ``device``."""
        labels = None if self.labels is None else self.labels.to(device)
        return Batch(tuple(tensor.to(device) for tensor in self.inputs), labels)

    def chunks(self, sizes: Sequence[int]) -> "list[Batch]":
        """Consecutive parts of ``sizes`` samples, which add up to all; views."""
        inputs = [torch.split(tensor, list(sizes)) for tensor in self.inputs]
        labels = (
            [None] * len(sizes) if self.labels is None else torch.split(self.labels, list(sizes))
        )
        return [Batch(tuple(own), of) for *own, of in zip(*inputs, labels, strict=True)]


def split(data: ArrayData, *, validation_ratio: float, seed: int) -> tuple[Arrays, Arrays | None]:
    """Training and validation samples; the latter held out by ``seed`` where none were given."""
    num_held_out = int(data.train.num_samples * validation_ratio)
    if data.validation is not None or not num_held_out:
        return data.train, data.validation
    order = np.random.default_rng((seed, 1)).permutation(data.train.num_samples)
    held_out, rest = np.sort(order[:num_held_out]), np.sort(order[num_held_out:])
    return data.train.taken(rest), data.train.taken(held_out)


class Batches:
    """Tensors of one split, cut into batches."""

    def __init__(self, arrays: Arrays, input_names: Sequence[str], batch_size: int) -> None:
        """Hold ``arrays`` in the order of ``input_names``.

        Raises:
            InputError: A model input has no array.
        """
        inputs = arrays.inputs
        if set(inputs) == {""} and len(input_names) == 1:
            inputs = {input_names[0]: inputs[""]}
        missing = [name for name in input_names if name not in inputs]
        if missing:
            message = f"the data has no array for the inputs {missing}; it has {sorted(inputs)}"
            raise InputError(message, code="dataset-columns", param=missing[0])
        self.num_samples = arrays.num_samples
        self.batch_size = min(batch_size, self.num_samples)
        self._inputs = tuple(torch.from_numpy(np.array(inputs[name])) for name in input_names)
        self._order: tuple[tuple[int, int], Tensor] | None = None  # of the epoch that runs
        self._labels: Tensor | None = None
        if arrays.labels is not None:
            is_float = arrays.labels.dtype.kind == "f"
            dtype = np.float32 if is_float else np.int64
            self._labels = torch.from_numpy(np.array(arrays.labels, dtype=dtype))

    @property
    def per_epoch(self) -> int:
        """Full batches in one pass; what is left over differs from pass to pass."""
        return self.num_samples // self.batch_size

    def indices(self, step: int, seed: int) -> Tensor:
        """Which samples ``step`` trains on: int64 (batch,), a permutation for every epoch."""
        epoch, position = divmod(step, self.per_epoch)
        if self._order is None or self._order[0] != (seed, epoch):
            order = np.random.default_rng((seed, 0, epoch)).permutation(self.num_samples)
            self._order = ((seed, epoch), torch.from_numpy(order))
        start = position * self.batch_size
        return self._order[1][start : start + self.batch_size]

    def at(self, indices: Tensor) -> Batch:
        """The samples ``indices``."""
        labels = None if self._labels is None else self._labels[indices]
        return Batch(tuple(tensor[indices] for tensor in self._inputs), labels)

    @property
    def labels(self) -> Tensor | None:
        """All labels, int64 or float32, samples along axis 0, if there are any."""
        return self._labels

    def in_order(self, *, full_only: bool) -> Iterator[Tensor]:
        """Indices of consecutive batches; without ``full_only`` the last one may be shorter."""
        end = self.per_epoch * self.batch_size if full_only else self.num_samples
        everything = torch.arange(end)
        for start in range(0, end, self.batch_size):
            yield everything[start : start + self.batch_size]
