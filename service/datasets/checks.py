"""Does a data set fit a model? Checked before anything is trained, with the first offending row.

The model is given as plain data, so that no model has to be loaded for the check. The order is
that of a person who debugs: names, shapes, types, values, labels, and at last whether there is
enough of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.datasets.dataset import SINGLE_INPUT, Dataset, Split
from service.errors import DatasetError

_CHUNK_ROWS = 4096
_LIKELY_BYTES = 255


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: Name in the file.
        shape: Axis 0 counts samples; None for a free axis.
        dtype: numpy's name of the element type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ModelInterface:
    """What a model wants to be fed.

    Attributes:
        inputs: In the model's order.
        classes: Number of classes of a classifier, or None if labels are not class numbers.
    """

    inputs: tuple[ModelInput, ...]
    classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetWarning:
    """Something suspicious that is no error: the code, a sentence, the array."""

    code: str
    message: str
    param: str


def check_dataset(
    dataset: Dataset,
    interface: ModelInterface,
    *,
    batch_size: int = 1,
    needs_labels: bool = False,
) -> tuple[DatasetWarning, ...]:
    """Check every split against a model.

    Args:
        dataset: What was read.
        interface: What the model wants.
        batch_size: Fewest samples that the training split must have.
        needs_labels: Whether the training split must have labels.

    Returns:
        Suspicions that do not stop a job (``dataset-range``).

    Raises:
        DatasetError: ``dataset-columns``, ``-shape-mismatch``, ``-dtype``, ``-non-finite``,
            ``-labels``, ``-too-small`` or ``-one-class``.
    """
    warnings: list[DatasetWarning] = []
    for name, split in dataset.splits.items():
        for wanted, array, shown in _pairs(name, split, interface.inputs):
            _check_shape(wanted, array, shown)
            _check_type(wanted, array, shown)
            _check_finite(array, shown)
            if name == "train":
                warnings += _suspicions(wanted, array, shown)
        _check_labels(name, split, interface.classes)
    _check_enough(dataset.train, interface, batch_size=batch_size, needs_labels=needs_labels)
    return tuple(warnings)


def bound_inputs(split: Split, interface: ModelInterface) -> dict[str, np.ndarray]:
    """The arrays of a split by the model's input names, in the model's order, in its types.

    Raises:
        DatasetError: ``dataset-columns``.
    """
    return {
        wanted.name: array.astype(_numpy_type(wanted), copy=False)
        for wanted, array, _ in _pairs("train", split, interface.inputs)
    }


def _pairs(
    name: str, split: Split, wanted: Sequence[ModelInput]
) -> Iterator[tuple[ModelInput, np.ndarray, str]]:
    """Match arrays and inputs: by name, or the single one to the single one."""
    given: Mapping[str, np.ndarray] = split.inputs
    if SINGLE_INPUT in given and len(wanted) == 1:
        yield wanted[0], given[SINGLE_INPUT], f"x_{name}"
        return
    names = [entry.name for entry in wanted]
    missing = [entry for entry in names if entry not in given]
    unused = [entry for entry in given if entry not in names]
    if missing or unused:
        expected = ", ".join(f"x_{name}:{entry}" for entry in names)
        got = ", ".join(f"x_{name}:{entry}" if entry else f"x_{name}" for entry in given)
        message = f"the model's inputs need the arrays {expected[:120]}, but there are {got[:120]}"
        details = {"missing": missing, "unused": unused}
        raise DatasetError(message, code="dataset-columns", param=f"x_{name}", details=details)
    for entry in wanted:
        yield entry, given[entry.name], f"x_{name}:{entry.name}"


def _check_shape(wanted: ModelInput, array: np.ndarray, shown: str) -> None:
    expected, got = wanted.shape[1:], array.shape[1:]
    fits = len(expected) == len(got) and all(
        want is None or want == have for want, have in zip(expected, got, strict=True)
    )
    if fits:
        return
    text = "(" + ", ".join("any" if axis is None else str(axis) for axis in expected) + ")"
    message = (
        f"samples of '{shown[:80]}' have the shape {_shape(got)}, but the model's input "
        f"'{wanted.name[:80]}' expects {text}{_hint(expected, got)}"
    )
    details = {"expected": list(expected), "got": list(got)}
    raise DatasetError(message, code="dataset-shape-mismatch", param=shown[:80], details=details)


def _shape(axes: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, axes)) + ")"


def _hint(expected: Sequence[int | None], got: Sequence[int]) -> str:
    """The two mistakes everybody makes: channels last, and no channel axis."""
    if len(expected) == len(got) == 3 and None not in expected:
        if tuple(expected) == (got[2], got[0], got[1]):
            return "; transpose the samples to channels first: x.transpose(0, 3, 1, 2)"
        if tuple(expected) == (got[1], got[2], got[0]):
            return "; transpose the samples to channels last: x.transpose(0, 2, 3, 1)"
    if len(expected) == len(got) + 1 and expected[0] == 1:
        return "; add the channel axis: x[:, None]"
    return ""


def _check_type(wanted: ModelInput, array: np.ndarray, shown: str) -> None:
    """Numbers may become floats, and integers other integers that can hold them."""
    kind = _numpy_type(wanted).kind
    fits = kind == "f" or array.dtype.kind == "b" or (kind in "iu" and array.dtype.kind in "iu")
    if fits and kind in "iu" and array.dtype.kind in "iu" and array.size:
        bounds = np.iinfo(wanted.dtype)
        fits = int(array.min()) >= bounds.min and int(array.max()) <= bounds.max
    if not fits:
        message = (
            f"'{shown[:80]}' holds {array.dtype}, which the model's input '{wanted.name[:80]}' of "
            f"type {wanted.dtype} cannot take; convert it when saving"
        )
        details = {"expected": wanted.dtype, "got": str(array.dtype)}
        raise DatasetError(message, code="dataset-dtype", param=shown[:80], details=details)


def _numpy_type(wanted: ModelInput) -> np.dtype[np.generic]:
    """The element type; bfloat16, which numpy lacks, is fed as float32."""
    return np.dtype("float32" if wanted.dtype == "bfloat16" else wanted.dtype)


def _check_finite(array: np.ndarray, shown: str) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), _CHUNK_ROWS):
        finite = np.isfinite(array[start : start + _CHUNK_ROWS])
        if not finite.all():
            row = start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            message = f"'{shown[:80]}' holds NaN or infinity in row {row}; repair the data"
            details = {"row": row}
            raise DatasetError(
                message, code="dataset-non-finite", param=shown[:80], details=details
            )


def _suspicions(wanted: ModelInput, array: np.ndarray, shown: str) -> list[DatasetWarning]:
    """Bytes fed to a network of floats: most networks were trained on values around 0..1."""
    is_float = wanted.dtype.startswith(("float", "bfloat"))
    if not is_float or len(array.shape) < 4 or not array.size:
        return []
    low, high = float(array.min()), float(array.max())
    if low < 0 or not 2 < high <= _LIKELY_BYTES:
        return []
    message = (
        f"values of '{shown[:80]}' reach from {low:g} to {high:g}; if the model was trained on "
        "scaled values (0..1), scale these as well"
    )
    return [DatasetWarning(code="dataset-range", message=message, param=shown[:80])]


def _check_labels(name: str, split: Split, classes: int | None) -> None:
    labels, shown = split.labels, f"y_{name}"
    if labels is None:
        return
    _check_finite(labels, shown)
    if classes is None:
        return
    if labels.ndim != 1:
        message = (
            f"'{shown}' has the shape {_shape(labels.shape)}; class labels are one number per "
            "sample (use argmax on one-hot labels)"
        )
        details: dict[str, object] = {"expected": [len(split)], "got": list(labels.shape)}
        raise DatasetError(message, code="dataset-labels", param=shown, details=details)
    bad = (labels < 0) | (labels >= classes)
    if labels.dtype.kind == "f":
        bad |= labels != np.floor(labels)
    if bad.any():
        row = int(np.argmax(bad))
        value = labels[row].item()
        message = (
            f"'{shown}' has the label {value} in row {row}; labels are whole numbers from 0 to "
            f"{classes - 1}, since the model has {classes} classes"
        )
        details = {"row": row, "value": value, "classes": classes}
        raise DatasetError(message, code="dataset-labels", param=shown, details=details)


def _check_enough(
    train: Split, interface: ModelInterface, *, batch_size: int, needs_labels: bool
) -> None:
    if len(train) < batch_size:
        message = (
            f"the data set has {len(train)} training samples, fewer than one batch of "
            f"{batch_size}; add samples or reduce batch_size"
        )
        raise DatasetError(
            message, code="dataset-too-small", param="x_train", limit=batch_size, actual=len(train)
        )
    if train.labels is None:
        if needs_labels:
            message = "the loss needs labels, but the data set has no 'y_train'"
            raise DatasetError(message, code="dataset-labels", param="y_train")
        return
    if interface.classes is not None and interface.classes > 1 and len(np.unique(train.labels)) < 2:
        message = (
            f"all training labels are {train.labels[0].item()}; at least two classes are needed"
        )
        raise DatasetError(message, code="dataset-one-class", param="y_train")
