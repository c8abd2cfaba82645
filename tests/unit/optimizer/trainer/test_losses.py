import math

import pytest
import torch

from optimizer.errors import InputError
from optimizer.trainer.losses import (
    Objective,
    OutputKind,
    as_tuple,
    distillation,
    kind_of,
    objective_for,
    relative_error,
)
from optimizer.trainer.tasks import Classes

SCORES = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
SETTINGS = {"distillation_weight": 0.9, "temperature": 4.0, "label_smoothing": 0.0}


@pytest.mark.parametrize(
    "output, kind",
    [
        (SCORES, OutputKind.SCORES),
        (SCORES.softmax(dim=1), OutputKind.PROBABILITIES),
        (torch.tensor([[1.5, -0.5]]), OutputKind.SCORES),  # sums to 1 but is negative
        (torch.rand(4, 1), OutputKind.VALUES),
        (torch.rand(2, 3, 4, 4), OutputKind.VALUES),
        (torch.tensor([[1, 2]]), OutputKind.OTHER),
    ],
)
def test_the_kind_of_an_output_follows_from_its_values(
    output: torch.Tensor, kind: OutputKind
) -> None:
    assert kind_of(output) is kind


def test_distillation_by_hand_and_zero_for_the_teacher_itself() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0 * math.log(3), 0.0]])
    # At temperature 2 the teacher says 3/4, 1/4; the student 1/2, 1/2.
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert distillation(student, teacher, 2.0).item() == pytest.approx(expected)
    assert distillation(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_relative_error_does_not_depend_on_the_scale() -> None:
    target = torch.tensor([3.0, -4.0])
    assert relative_error(2 * target, target).item() == pytest.approx(1)
    assert relative_error(2e6 * target, 1e6 * target).item() == pytest.approx(1)


def test_the_mix_by_hand() -> None:
    labels, teacher = torch.tensor([0, 2]), (SCORES.flip(0),)
    mix = objective_for("auto", teacher, labels, **SETTINGS)
    classes = Classes(kind=OutputKind.SCORES, num_classes=3)
    assert mix == Objective(kinds=(OutputKind.SCORES,), distillation_weight=0.9, task=classes)
    task = torch.nn.functional.cross_entropy(SCORES, labels)
    expected = 0.9 * distillation(SCORES, teacher[0], 4.0) + 0.1 * task
    assert mix.loss((SCORES,), teacher, labels).item() == pytest.approx(expected.item())
    only_task = objective_for("cross-entropy", teacher, labels, **SETTINGS)
    assert only_task.loss((SCORES,), teacher, labels).item() == pytest.approx(task.item())
    assert mix.tally((SCORES,), labels).tolist() == [1, 2]


def test_probabilities_are_compared_as_the_scores_they_came_from() -> None:
    labels, teacher = torch.tensor([0, 2]), SCORES.flip(0)
    of_scores = objective_for("mix", (teacher,), labels, **SETTINGS)
    of_probabilities = objective_for("mix", (teacher.softmax(1),), labels, **SETTINGS)
    assert of_probabilities.kinds == (OutputKind.PROBABILITIES,)
    assert of_probabilities.loss(
        (SCORES.softmax(1),), (teacher.softmax(1),), labels
    ).item() == pytest.approx(of_scores.loss((SCORES,), (teacher,), labels).item(), rel=1e-5)


def test_values_and_several_outputs_are_distilled() -> None:
    outputs = (torch.ones(2, 1), SCORES, torch.tensor([1, 2]))
    objective = objective_for("auto", outputs, torch.tensor([0, 2]), **SETTINGS)
    assert objective.distillation_weight == 1  # the first output tells no classes apart
    off = (torch.full((2, 1), 3.0), SCORES, torch.tensor([9, 9]))
    assert objective.loss(off, outputs, None).item() == pytest.approx(4.0, abs=1e-6)
    assert objective.tally(outputs, torch.tensor([0, 2])) is None


def test_mse_compares_numbers_even_of_classes() -> None:
    objective = objective_for("mse", (SCORES,), None, **SETTINGS)
    assert objective.loss((2 * SCORES,), (SCORES,), None).item() == pytest.approx(1)


@pytest.mark.parametrize(
    "loss, outputs, labels, message",
    [
        ("mix", (SCORES,), None, "needs labels"),
        ("cross-entropy", (torch.rand(2, 1),), torch.tensor([0, 0]), "first output of shape"),
        ("auto", (SCORES,), torch.tensor([0, 3]), "label 3 in row 1 is not a class.*0 to 2"),
        ("auto", (SCORES,), torch.tensor([-1, 0]), "label -1 in row 0"),
        ("auto", (torch.tensor([1]),), None, "no floating-point output"),
    ],
)
def test_what_does_not_fit_is_refused(loss, outputs, labels, message: str) -> None:
    with pytest.raises(InputError, match=message):
        objective_for(loss, outputs, labels, **SETTINGS)


def test_small_helpers() -> None:
    assert as_tuple(SCORES) == (SCORES,)
    assert as_tuple((SCORES, SCORES)) == (SCORES, SCORES)


def test_without_labels_a_shift_of_all_values_is_seen() -> None:
    """Nobody knows whether they are class scores: a softmax would not see it."""
    teacher = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    settings = {"distillation_weight": 0.9, "temperature": 4.0, "label_smoothing": 0.0}
    unlabelled = objective_for("auto", [teacher], None, **settings)
    labels = torch.arange(8) % 3
    labelled = objective_for("auto", [teacher], labels, **settings)
    assert unlabelled.loss([teacher], [teacher], None) == 0
    assert unlabelled.loss([teacher + 5], [teacher], None) > 1
    same, shifted = (labelled.loss([out], [teacher], labels) for out in (teacher, teacher + 5))
    assert torch.isclose(same, shifted, atol=1e-5)
    assert unlabelled.tally([teacher], None) is None
