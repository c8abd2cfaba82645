import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optimizer.bridge import host

SIZES = st.lists(st.integers(-9, 9), min_size=1, max_size=5).map(tuple)


@given(values=SIZES, start=st.integers(-9, 9), end=st.integers(-9, 9), step=st.sampled_from([1, 2]))
def test_cut_is_onnx_slice(values: tuple[int, ...], start: int, end: int, step: int) -> None:
    assert host.cut(values, start, end, step) == tuple(np.array(values)[start:end:step])


def test_cut_walks_backwards_to_the_begin() -> None:
    assert host.cut((1, 2, 3), -1, -(2**63), -1) == (3, 2, 1)


@given(values=SIZES)
def test_join_and_only(values: tuple[int, ...]) -> None:
    assert host.join(values, 7, values) == (*values, 7, *values)
    assert host.only(values[:1]) == host.only(values[0]) == values[0]
    with pytest.raises(ValueError, match=r"too many|not enough"):
        host.only((*values, 1))


@given(left=st.integers(-50, 50), right=st.integers(-9, 9).filter(bool))
def test_integers_are_divided_towards_zero(left: int, right: int) -> None:
    assert host.elementwise("Div", left, right) == int(left / right)


def test_elementwise_broadcasts_scalars_and_single_elements() -> None:
    assert host.elementwise("Mul", (2, 3), 4) == (8, 12)
    assert host.elementwise("Mul", (2, 3), (4,)) == (8, 12)
    assert host.elementwise("Where", (True, False), (1, 2), (3, 4)) == (1, 4)
    assert host.elementwise("Div", 1.0, 4) == 0.25
    assert host.elementwise("Add", (), 1) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ReduceProd", 24), ("ReduceSum", 9), ("ReduceMin", 2), ("ReduceMax", 4)],
)
def test_reduce(name: str, expected: int) -> None:
    assert host.reduce(name, (2, 3, 4), False) == expected
    assert host.reduce(name, (2, 3, 4), True) == (expected,)


def test_between_host_and_tensor() -> None:
    anchor = torch.empty(0)
    assert host.to_list(torch.tensor([1, 2])) == (1, 2)
    assert host.to_list(torch.tensor(3)) == 3
    assert host.to_tensor((1, 2), torch.int32, anchor).dtype == torch.int32
    assert host.shape_of(torch.empty(2, 3)) == (2, 3)
    assert host.repeat((3,), 1) == (1, 1, 1)
