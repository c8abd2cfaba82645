import torch

from optimizer.bridge.control import Stack, number, truth


def test_stacks_of_nothing_have_the_axis_of_length_0() -> None:
    anchor = torch.empty(0)
    stack = Stack(axis=-2, shape=(4, 5), dtype=torch.float64)
    empty = stack([], anchor)
    assert empty.shape == (4, 0, 5)
    assert empty.dtype == torch.float64
    assert stack([torch.zeros(4, 5)], anchor).shape == (4, 1, 5)


def test_the_last_may_come_first() -> None:
    made = [torch.tensor(0.0), torch.tensor(1.0)]
    assert Stack(is_reversed=True)(made, made[0]).tolist() == [1, 0]
    assert Stack()(made, made[0]).tolist() == [0, 1]


def test_numbers_and_truths_of_tensors_and_of_the_host() -> None:
    assert number(torch.tensor([7])) == number((7,)) == number(7) == 7
    assert truth(torch.tensor(data=True)) is truth((True,)) is truth(condition=True) is True
    assert truth(torch.tensor([False])) is False
