"""A data set in memory: up to three splits of named inputs, with or without labels.

The names of the arrays carry the structure: ``x_train``, ``y_train``, ``x_val``, ``y_val``,
``x_test``, ``y_test``; for models with several inputs ``x_train:NAME``. Whether the arrays fit a
model is checked in ``checks``.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.errors import DatasetError

SINGLE_INPUT = ""  # key of the one input that has no name
_SPLITS = ("train", "val", "test")
_KNOWN = tuple(f"{kind}_{split}" for kind in "xy" for split in _SPLITS)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Samples for one purpose.

    Attributes:
        inputs: Input name -> array whose first axis counts samples; the key is ``SINGLE_INPUT``
            where the file has just ``x_train``.
        labels: One label (or target) per sample, or None.
    """

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None

    def __len__(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """All splits of a data set; only ``train`` is ever trained on.

    Attributes:
        train: Samples to train on.
        validation: Samples to choose by, if given.
        test: Samples to report on, if given.
        sha256: Digest of the file.
    """

    train: Split
    validation: Split | None
    test: Split | None
    sha256: str

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that exist, by the name used in the file (train, val, test)."""
        named = {"train": self.train, "val": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}


def dataset_of(arrays: Mapping[str, np.ndarray], *, sha256: str) -> Dataset:
    """Sort arrays into splits by their names.

    Raises:
        DatasetError: ``dataset-columns`` (an unknown, missing or ambiguous name),
            ``dataset-shape-mismatch`` or ``dataset-labels`` (lengths differ), or
            ``dataset-too-small``.
    """
    for name in arrays:
        _check_name(name)
    splits = {name: _split(name, arrays) for name in _SPLITS}
    if splits["train"] is None:
        given = ", ".join(sorted(arrays)) or "none"
        message = f"the data set has no array 'x_train' (found: {given[:200]})"
        raise DatasetError(message, code="dataset-columns", param="x_train")
    return Dataset(
        train=splits["train"],
        validation=splits["val"],
        test=splits["test"],
        sha256=sha256,
    )


def _check_name(name: str) -> None:
    base, colon, _ = name.partition(":")
    if base in _KNOWN and (not colon or base.startswith("x_")):
        return
    close = difflib.get_close_matches(base, _KNOWN, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(_KNOWN)}, x_train:NAME"
    message = f"the data set has an unknown array '{name[:80]}'; {hint}"
    raise DatasetError(message, code="dataset-columns", param=name[:80])


def _split(split: str, arrays: Mapping[str, np.ndarray]) -> Split | None:
    prefix, labels = f"x_{split}", arrays.get(f"y_{split}")
    inputs = {
        name.partition(":")[2]: array
        for name, array in arrays.items()
        if name.partition(":")[0] == prefix
    }
    if not inputs:
        if labels is None:
            return None
        message = f"the data set has 'y_{split}' but no '{prefix}'"
        raise DatasetError(message, code="dataset-columns", param=prefix)
    if SINGLE_INPUT in inputs and len(inputs) > 1:
        message = f"the data set has both '{prefix}' and '{prefix}:NAME'; name all inputs or none"
        raise DatasetError(message, code="dataset-columns", param=prefix)
    _check_lengths(split, inputs, labels)
    return Split(inputs=inputs, labels=labels)


def _check_lengths(split: str, inputs: Mapping[str, np.ndarray], labels: np.ndarray | None) -> None:
    """Every array of a split counts the same number of samples, at least one."""
    name, first = next(iter(inputs.items()))
    for other, array in inputs.items():
        shown = f"x_{split}:{other}" if other else f"x_{split}"
        if array.ndim == 0 or (first.ndim and len(array) != len(first)):
            expected = "a first axis of samples" if array.ndim == 0 else f"{len(first)} samples"
            message = f"array '{shown[:80]}' of shape {list(array.shape)} needs {expected}"
            raise DatasetError(message, code="dataset-shape-mismatch", param=shown[:80])
    if not len(first):
        message = f"array 'x_{split}{':' + name if name else ''}' has no samples"
        raise DatasetError(message[:200], code="dataset-too-small", param=f"x_{split}")
    if labels is not None and (labels.ndim == 0 or len(labels) != len(first)):
        got = len(labels) if labels.ndim else 0
        message = f"'y_{split}' has {got} labels for {len(first)} samples in 'x_{split}'"
        details = {"expected": len(first), "got": got}
        raise DatasetError(message, code="dataset-labels", param=f"y_{split}", details=details)
