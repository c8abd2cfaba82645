import pytest
import torch

from optimizer.bridge.joining import ABSENT, are_alike, as_template, joined, part_of, stacked
from optimizer.bridge.unsupported import UnsupportedVariant
from optimizer.bridge.values import Value, constant_of


def tensor(first: tuple[int, ...], second: tuple[int, ...], dtype: torch.dtype) -> Value:
    probes = tuple(torch.empty(shape, dtype=dtype, device="meta") for shape in (first, second))
    return Value(dtype=dtype, probes=(probes[0], probes[1]))


def floating(first: tuple[int, ...], second: tuple[int, ...]) -> Value:
    return tensor(first, second, torch.float32)


BATCH = floating((2, 4), (7, 4))


def test_sizes_that_differ_vary() -> None:
    other = floating((2, 5), (7, 5))
    found = joined(BATCH, other, relaxes_batch=False)
    assert found.static_shape == (None, None)
    assert found.rank == 2
    fixed = joined(floating((3, 4), (3, 4)), floating((3, 5), (3, 5)), relaxes_batch=False)
    assert fixed.static_shape == (3, None)


def test_what_varies_stays_so_and_joining_ends() -> None:
    found = joined(floating((5,), (5,)), floating((6,), (6,)), relaxes_batch=False)
    for size in (7, 8):
        again = joined(found, floating((size,), (size,)), relaxes_batch=False)
        assert are_alike(found, again)
    assert not are_alike(found, floating((5,), (5,)))


def test_nothing_is_known_of_a_shape_that_would_be_taken_for_the_batch() -> None:
    found = joined(floating((3, 4), (9, 4)), floating((3, 5), (9, 5)), relaxes_batch=True)
    assert found.static_shape is None
    assert found.rank == 2
    same = joined(floating((3, 4), (9, 4)), floating((3, 4), (9, 4)), relaxes_batch=True)
    assert same.static_shape == (None, 4)


def test_ranks_that_differ_are_not_known() -> None:
    assert joined(BATCH, floating((2,), (7,)), relaxes_batch=False).rank is None


def test_numbers_stay_on_the_host() -> None:
    host = Value(dtype=torch.int64, is_host=True, inferred_rank=1)
    constant = constant_of(torch.tensor([1, 2]))
    assert joined(host, constant, relaxes_batch=False).is_host
    assert joined(constant, constant, relaxes_batch=False).is_host
    assert not joined(host, constant_of(torch.tensor(1)), relaxes_batch=False).is_host
    assert not joined(host, tensor((2,), (2,), torch.int64), relaxes_batch=False).is_host
    assert not as_template(constant_of(torch.ones(2))).is_host


def test_types_must_agree() -> None:
    with pytest.raises(UnsupportedVariant, match=r"torch\.float32 or torch\.int64"):
        joined(BATCH, tensor((2, 4), (7, 4), torch.int64), relaxes_batch=False)
    sequence = Value(dtype=torch.float32, items=(BATCH,))
    with pytest.raises(UnsupportedVariant, match="a sequence or a tensor"):
        joined(sequence, BATCH, relaxes_batch=False)


def test_nothing_and_something() -> None:
    for pair in ((ABSENT, BATCH), (BATCH, ABSENT)):
        found = joined(*pair, relaxes_batch=False)
        assert found.is_optional
        assert found.static_shape == (None, 4)
        assert not found.is_tensor


def test_sequences_are_of_tensors_of_one_type() -> None:
    one = Value(dtype=torch.float32, items=(BATCH, BATCH))
    other = Value(dtype=torch.float32, is_sequence=True, inferred_rank=2)
    found = joined(one, other, relaxes_batch=False)
    assert found.is_sequence
    assert found.items is None
    assert (found.dtype, found.inferred_rank) == (torch.float32, 2)


def test_stacks_and_their_parts() -> None:
    assert stacked(BATCH, (3, 5), axis=-1).static_shape == (None, 4, None)
    assert stacked(BATCH, (3, 3)).static_shape == (3, None, 4)
    assert stacked(BATCH, None).rank == 3
    assert part_of(BATCH, -1).static_shape == (None,)
    assert part_of(BATCH, 3).rank == 1
    assert part_of(Value(dtype=torch.float32), 0).rank is None
