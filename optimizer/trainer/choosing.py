"""Which task labels belong to: told from their type and shape, and from the first output.

| task | first output | labels |
|---|---|---|
| ``cross-entropy`` | (N, K >= 2) | whole numbers (N,) |
| ``token-cross-entropy`` | (N, T, K), (N, K, T), (N, K, H, W), ... | whole numbers, without K |
| ``bce`` | any; (N, 1) counts as (N,) | of the output's shape, 0..1 |
| ``mse``, ``l1``, ``huber`` | any; (N, 1) counts as (N,) | of the output's shape, any numbers |

``auto`` takes the first that fits, ``bce`` only for labels that are all 0 or 1, and ``mse`` only
for labels that are floats.
"""

import torch
from torch import Tensor

from optimizer.errors import InputError
from optimizer.trainer.outputs import OutputKind, kind_along, kind_of_each
from optimizer.trainer.tasks import Classes, Labels, Regression, Task, Tokens

TASKS = ("cross-entropy", "token-cross-entropy", "bce", "mse", "l1", "huber")
_IMAGE = 4  # axes from which on classes come before positions where both readings fit


def task_for(
    name: str,
    output: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Task | None:
    """The task ``name`` for these labels, or the one that fits if ``name`` is ``auto``.

    Args:
        name: ``auto`` or one of ``TASKS``.
        output: The original model's first output on a batch of samples.
        labels: Of all training samples, samples along axis 0.
        label_smoothing: Of a cross-entropy.
        ignore_index: Label of positions that a token cross-entropy leaves out.

    Returns:
        The task; None where the labels do not have the form that it needs.

    Raises:
        InputError: They have the form, but hold values that cannot be.
    """
    if not output.is_floating_point():
        return None
    if name == "auto":
        name = _fitting(output, labels)
    if name == "cross-entropy" and _are_classes(output, labels):
        _check_classes(labels, output.shape[1], None)
        kind = kind_along(output, 1)
        return Classes(kind=kind, num_classes=output.shape[1], label_smoothing=label_smoothing)
    axis = _class_axis(output, labels)
    if name == "token-cross-entropy" and axis is not None:
        _check_classes(labels, output.shape[axis], ignore_index)
        return Tokens(
            kind=kind_along(output, axis),
            axis=axis,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )
    if not _has_shape_of(output, labels):
        return None
    if name == "bce":
        _check_between(labels)
        return Labels(kind=kind_of_each(output))
    if name in ("mse", "l1", "huber"):
        return Regression(name=name, spread=_spread(labels))
    return None


def _fitting(output: Tensor, labels: Tensor) -> str:
    """The task that labels have the form of; an empty text for none."""
    if _are_classes(output, labels):
        return "cross-entropy"
    if _class_axis(output, labels) is not None:
        return "token-cross-entropy"
    if _has_shape_of(output, labels):
        if bool(((labels == 0) | (labels == 1)).all()):
            _refuse_one_hot(output, labels)
            return "bce"
        if labels.is_floating_point():
            return "mse"
    return ""


def _are_classes(output: Tensor, labels: Tensor) -> bool:
    return (
        output.dim() == 2
        and output.shape[1] > 1
        and labels.dim() == 1
        and not labels.is_floating_point()
    )


def _class_axis(output: Tensor, labels: Tensor) -> int | None:
    """The axis of the output that the labels lack, if they are class numbers of positions."""
    if output.dim() < 3 or labels.dim() != output.dim() - 1 or labels.is_floating_point():
        return None
    last, wanted = output.dim() - 1, tuple(labels.shape[1:])
    order = (1, last) if output.dim() >= _IMAGE else (last, 1)
    for axis in order:
        rest = [size for place, size in enumerate(output.shape) if place not in (0, axis)]
        if tuple(rest) == wanted and output.shape[axis] > 1:
            return axis
    return None


def _has_shape_of(output: Tensor, labels: Tensor) -> bool:
    """Whether there is one label for every number; an axis of 1 may be lacking."""
    shapes = [tuple(each.shape[1:]) for each in (output, labels)]
    return shapes[0] == shapes[1] or all(shape in ((), (1,)) for shape in shapes)


def _refuse_one_hot(output: Tensor, labels: Tensor) -> None:
    is_one_hot = labels.dim() == 2 and labels.shape[1] > 1 and bool((labels.sum(dim=1) == 1).all())
    if is_one_hot and kind_along(output, 1) is OutputKind.PROBABILITIES:
        message = (
            "labels are one-hot, and the model's outputs are shares of classes; give class numbers "
            "(argmax of the labels), or set loss to 'bce' if several labels can be right"
        )
        raise InputError(message, code="dataset-labels", param="loss")


def _check_classes(labels: Tensor, num_classes: int, ignored: int | None) -> None:
    wrong = (labels < 0) | (labels >= num_classes)
    if ignored is not None:
        if labels.numel() and not bool((labels != ignored).any()):
            message = f"all labels are {ignored}, which is ignored, so that none counts"
            raise InputError(message, code="dataset-labels", param="ignore_index")
        wrong &= labels != ignored
    found = wrong.nonzero()
    if not len(found):
        return
    row = int(found[0][0])
    message = (
        f"label {int(labels[tuple(found[0])])} in row {row} is not a class: the model tells "
        f"{num_classes} apart, 0 to {num_classes - 1}"
    )
    if ignored is not None:
        message += f", and {ignored} is ignored"
    raise InputError(message, code="dataset-labels", param=str(row))


def _check_between(labels: Tensor) -> None:
    wrong = ~((labels >= 0) & (labels <= 1))
    found = wrong.nonzero()
    if len(found):
        row = int(found[0][0])
        value = labels[tuple(found[0])].item()
        message = f"label {value:g} in row {row} is not between 0 and 1, as loss 'bce' needs it"
        raise InputError(message, code="dataset-labels", param=str(row))


def _spread(labels: Tensor) -> float:
    values = labels.double()
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0][0])
        message = f"the label in row {row} is NaN or infinite; repair the data"
        raise InputError(message, code="dataset-labels", param=str(row))
    spread = float(values.std(correction=0))
    return spread if spread > 0 else 1.0
