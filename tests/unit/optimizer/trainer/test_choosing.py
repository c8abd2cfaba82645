"""Which task labels get, and what is said where none fits."""

import pytest
import torch
from torch import Tensor

from optimizer.errors import InputError
from optimizer.trainer.choosing import task_for
from optimizer.trainer.losses import objective_for
from optimizer.trainer.outputs import OutputKind
from optimizer.trainer.tasks import Labels, Regression, Tokens

SETTINGS = {"distillation_weight": 0.9, "temperature": 4.0, "label_smoothing": 0.0}
whole, floats = torch.int64, torch.float32


def zeros(*shape: int, dtype: torch.dtype = floats) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def halves(*shape: int) -> Tensor:
    return torch.full(shape, 0.5)


@pytest.mark.parametrize(
    "output, labels, name",
    [
        (zeros(4, 3), zeros(9, dtype=whole), "cross-entropy"),
        (zeros(4, 7, 3), zeros(9, 7, dtype=whole), "token-cross-entropy"),
        (zeros(4, 3, 7), zeros(9, 7, dtype=whole), "token-cross-entropy"),
        (zeros(4, 3, 7, 8), zeros(9, 7, 8, dtype=whole), "token-cross-entropy"),
        (zeros(4, 7, 8, 3), zeros(9, 7, 8, dtype=whole), "token-cross-entropy"),
        (zeros(4, 3), zeros(9, 3, dtype=whole), "bce"),
        (zeros(4, 3), zeros(9, 3), "bce"),
        (zeros(4, 1), zeros(9, dtype=whole), "bce"),
        (zeros(4), zeros(9, 1, dtype=whole), "bce"),
        (zeros(4, 3), halves(9, 3), "mse"),
        (zeros(4, 1), halves(9), "mse"),
        (zeros(4, 3, 8, 8), halves(9, 3, 8, 8), "mse"),
        (zeros(4, 3), halves(9), None),
        (zeros(4, 3), halves(9, 2), None),
        (zeros(4, 3, 8, 8), zeros(9, dtype=whole), None),
        (zeros(4, 1), torch.arange(9), None),
        (zeros(4, 3, dtype=whole), zeros(9, dtype=whole), None),
    ],
)
def test_labels_are_told_by_type_and_shape(output: Tensor, labels: Tensor, name: str) -> None:
    task = task_for("auto", output, labels)
    assert (task and task.name) == name


def test_classes_lie_where_the_labels_have_no_axis() -> None:
    axes = {}
    for shape, positions in (
        ((4, 7, 3), (7,)),
        ((4, 3, 7), (7,)),
        ((4, 5, 5), (5,)),
        ((4, 3, 7, 8), (7, 8)),
        ((4, 7, 8, 3), (7, 8)),
        ((4, 5, 5, 5), (5, 5)),
    ):
        task = task_for("auto", zeros(*shape), zeros(9, *positions, dtype=whole))
        assert isinstance(task, Tokens)
        axes[shape] = task.axis
    assert list(axes.values()) == [2, 1, 2, 1, 3, 1]


def test_outputs_between_0_and_1_are_probabilities_of_labels() -> None:
    labels = torch.tensor([[0, 1], [1, 1]])
    for output, kind in ((halves(2, 2), "probabilities"), (halves(2, 2) - 1, "scores")):
        task = task_for("bce", output, labels)
        assert task == Labels(kind=OutputKind(kind))


def test_a_regression_knows_the_spread_of_its_labels() -> None:
    assert task_for("huber", zeros(2, 1), torch.tensor([1.0, 5.0])) == Regression(
        name="huber", spread=2.0
    )
    assert task_for("l1", zeros(2, 1), torch.tensor([3, 3])) == Regression(name="l1", spread=1.0)


@pytest.mark.parametrize(
    "name, output, labels, message",
    [
        ("auto", zeros(2, 3), torch.tensor([0, 3]), "label 3 in row 1 is not a class.*0 to 2"),
        ("auto", zeros(2, 4, 3), torch.tensor([[0, 1, 2, 0], [0, 1, -1, 0]]), "-100 is ignored"),
        ("auto", zeros(2, 4, 3), torch.full((2, 4), -100), "all labels are -100"),
        ("bce", zeros(2, 1), torch.tensor([0.0, 1.5]), "label 1.5 in row 1 is not between 0 and"),
        ("mse", zeros(2, 1), torch.tensor([0.0, float("nan")]), "row 1 is NaN"),
        ("auto", torch.full((2, 2), 0.5), torch.eye(2), "one-hot.*argmax"),
    ],
)
def test_labels_of_the_right_form_with_wrong_values_are_refused(
    name: str, output: Tensor, labels: Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        task_for(name, output, labels)


def test_one_hot_labels_are_taken_where_they_are_asked_for() -> None:
    assert task_for("bce", torch.full((2, 2), 0.5), torch.eye(2)) is not None


@pytest.mark.parametrize(
    "loss, output, labels, weight, name, as_values",
    [
        ("auto", zeros(2, 3), halves(2, 3), 0.9, "mse", False),
        ("mix", zeros(2, 3), halves(2, 3), 0.9, "mse", False),
        ("mse", zeros(2, 3), halves(2, 3), 0.0, "mse", False),
        ("huber", zeros(2, 3), halves(2, 3), 0.0, "huber", False),
        ("bce", zeros(2, 3), zeros(2, 3), 0.0, "bce", False),
        ("distillation", zeros(2, 3), halves(2, 3), 1.0, "mse", False),
        ("auto", zeros(2, 3), halves(2), 1.0, None, False),
        ("mse", zeros(2, 3), None, 1.0, None, True),
        ("mse", zeros(2, 3), torch.tensor([0, 1]), 1.0, "cross-entropy", True),
    ],
)
def test_how_the_task_and_the_teacher_share(
    loss: str, output: Tensor, labels: Tensor | None, weight: float, name: str, as_values: bool
) -> None:
    found = objective_for(loss, (output,), labels, **SETTINGS)
    assert found.distillation_weight == weight
    assert (found.task and found.task.name) == name
    assert found.as_values == as_values


@pytest.mark.parametrize(
    "loss, labels, message",
    [
        ("bce", None, "loss 'bce' needs labels of the first output's shape; there are none"),
        ("l1", halves(2), r"labels are floats of shape \(N\), .*shape is \(N, 3\)"),
        ("token-cross-entropy", torch.tensor([0, 1]), "whole numbers .samples, positions."),
        ("mix", halves(2, 2), "labels that fit the first output"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(loss: str, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        objective_for(loss, (zeros(2, 3),), labels, **SETTINGS)
    assert "\n" not in str(caught.value)
    assert caught.value.param == "loss"


def test_the_mix_of_labels_by_hand() -> None:
    output, teacher, labels = zeros(2, 1), halves(2, 1), torch.tensor([1.0, 3.0])
    mix = objective_for("auto", (teacher,), labels, **SETTINGS)
    expected = 0.9 * 0.25 + 0.1 * (1 + 9) / 2
    assert mix.loss((output,), (teacher,), labels).item() == pytest.approx(expected)
