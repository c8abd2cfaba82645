"""Losses, distances and measures of every task, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from optimizer.trainer.outputs import OutputKind
from optimizer.trainer.tasks import Classes, Labels, Regression, Task, Tokens

SCORES, PROBABILITIES = OutputKind.SCORES, OutputKind.PROBABILITIES
LOG3 = math.log(3)


def figure(task: Task, output: Tensor, labels: Tensor) -> float | None:
    return task.measure.value(*task.tally(output, labels).tolist())


def test_shares_of_classes_are_labels_too() -> None:
    output = torch.tensor([[LOG3, 0.0]])  # 3/4, 1/4
    task = Classes(kind=SCORES, num_classes=2)
    hard = -math.log(0.75)
    assert task.loss(output, torch.tensor([0])).item() == pytest.approx(hard)
    mixed = 0.3 * task.soft(torch.tensor([0])) + 0.7 * task.soft(torch.tensor([1]))
    assert mixed.tolist() == [pytest.approx([0.3, 0.7])]
    expected = 0.3 * hard - 0.7 * math.log(0.25)
    assert task.loss(output, mixed).item() == pytest.approx(expected)
    smooth = Classes(kind=SCORES, num_classes=2, label_smoothing=0.2)
    expected = 0.9 * hard - 0.1 * math.log(0.25)
    assert smooth.loss(output, torch.tensor([0])).item() == pytest.approx(expected)


@pytest.mark.parametrize("axis", [1, 2])
def test_positions_that_are_ignored_count_nowhere(axis: int) -> None:
    """Two tokens say 3/4 and 1/4 for the right class; the third would say nothing but 0."""
    rows = torch.tensor([[[LOG3, 0.0], [LOG3, 0.0], [50.0, -50.0]]])
    output = rows if axis == 2 else rows.transpose(1, 2)
    labels = torch.tensor([[0, 1, -100]])
    task = Tokens(kind=SCORES, axis=axis)
    expected = -(math.log(0.75) + math.log(0.25)) / 2
    assert task.loss(output, labels).item() == pytest.approx(expected)
    assert task.tally(output, labels).tolist() == [1, 2]
    assert figure(task, output, labels) == 0.5
    assert task.measure.name == "token-accuracy"
    assert task.loss(output, torch.full((1, 3), -100)).item() == 0  # and not NaN
    assert figure(task, output, torch.full((1, 3), -100)) is None
    other = Tokens(kind=SCORES, axis=axis, ignore_index=1)
    assert other.loss(output[:, :2] if axis == 2 else output[..., :2], labels[:, :2]).item() == (
        pytest.approx(-math.log(0.75))
    )


def test_parts_of_a_batch_give_every_position_that_counts_the_same_share() -> None:
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(4, 5, 3, generator=generator)
    labels = torch.randint(0, 3, (4, 5), generator=generator)
    labels[0, 1:], labels[2] = -100, -100  # parts count 6, 0 and 5 positions
    task = Tokens(kind=SCORES, axis=2)
    whole, in_parts = task.loss(output, labels), task.for_parts(labels)
    parts = [(output[:2], labels[:2]), (output[2:3], labels[2:3]), (output[3:], labels[3:])]
    total = sum(in_parts.loss(*part) * len(part[1]) / 4 for part in parts)
    assert torch.allclose(torch.as_tensor(total), whole)


def test_a_segmentation_is_torchs_own_and_its_distillation_a_mean_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(2, 3, 4, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    task = Tokens(kind=SCORES, axis=1)
    assert torch.allclose(
        task.loss(output, labels), torch.nn.functional.cross_entropy(output, labels)
    )
    one = Classes(kind=SCORES, num_classes=3)
    pixels = output.permute(0, 2, 3, 1).reshape(-1, 3)
    assert torch.allclose(
        task.distance(output, output.flip(0), 2.0),
        one.distance(pixels, output.flip(0).permute(0, 2, 3, 1).reshape(-1, 3), 2.0),
    )
    probable = Tokens(kind=PROBABILITIES, axis=1)
    assert torch.allclose(probable.loss(output.softmax(1), labels), task.loss(output, labels))


def test_each_label_by_itself() -> None:
    output = torch.tensor([[LOG3, -LOG3], [LOG3, LOG3]])  # 3/4, 1/4; 3/4, 3/4
    labels = torch.tensor([[1, 0], [0, 1]])
    task = Labels(kind=SCORES)
    expected = -(3 * math.log(0.75) + math.log(0.25)) / 4
    assert task.loss(output, labels).item() == pytest.approx(expected)
    probable = Labels(kind=PROBABILITIES)
    assert probable.loss(output.sigmoid(), labels.float()).item() == pytest.approx(expected)
    assert task.tally(output, labels).tolist() == [4, 5]  # two found, three said, two given
    assert probable.tally(output.sigmoid(), labels).tolist() == [4, 5]
    assert task.measure.name == "f1"
    assert not task.measure.is_accuracy
    one = torch.tensor([[LOG3], [-LOG3]])
    assert task.loss(one, torch.tensor([1, 0])).item() == pytest.approx(-math.log(0.75))
    saturated = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = probable.loss(saturated, torch.tensor([[1.0, 0.0]]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert bool(torch.isfinite(saturated.grad).all())


def test_distillation_of_labels_by_hand() -> None:
    """At temperature 2 the teacher says 3/4, the student 1/2."""
    task = Labels(kind=SCORES)
    student, teacher = torch.zeros(1, 1), torch.full((1, 1), 2 * LOG3)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert task.distance(student, teacher, 2.0).item() == pytest.approx(expected)
    assert task.distance(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "name, loss, measure, value",
    [
        ("mse", (1 + 9) / 2 / 4, "rmse", math.sqrt(5)),
        ("l1", (1 + 3) / 2 / 2, "mae", 2.0),
        ("huber", (0.5 * 0.25 + (1.5 - 0.5)) / 2, "rmse", math.sqrt(5)),
    ],
)
def test_errors_in_units_of_the_spread(name: str, loss: float, measure: str, value: float) -> None:
    task = Regression(name=name, spread=2.0)
    output, labels = torch.tensor([[3.0], [7.0]]), torch.tensor([4.0, 10.0])
    assert task.loss(output, labels).item() == pytest.approx(loss)
    assert task.distance(output, labels[:, None], 4.0).item() == pytest.approx(loss)
    assert task.measure.name == measure
    assert not task.measure.is_accuracy
    assert not task.measure.rises
    assert figure(task, output, labels) == pytest.approx(value)
