import numpy as np
import pytest
import torch

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    floats,
    one_node,
    run_imported,
)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Pow"])
@pytest.mark.parametrize("other", [(2, 3, 4), (4,), (3, 1), (1,), ()])
@pytest.mark.parametrize("constant", [(), (0,), (1,)])
def test_arithmetic_broadcasts(
    op_type: str, other: tuple[int, ...], constant: tuple[int, ...]
) -> None:
    left, right = np.abs(floats(2, 3, 4)) + 0.5, np.asarray(floats(*other, seed=1))
    assert_like_ort(op_type, [left, right], constant=constant)
    if op_type != "Pow":
        assert_like_ort(op_type, [right, left], constant=constant)


def test_a_constant_with_more_axes_raises_the_rank() -> None:
    assert_like_ort("Mul", [floats(4), np.full((1, 1), 2, np.float32)], constant=[1])


@pytest.mark.parametrize("op_type", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons(op_type: str) -> None:
    left = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert_like_ort(op_type, [left, np.array([1, 1, 5])])


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic(op_type: str) -> None:
    flags = np.array([[True, False], [False, True]])
    assert_like_ort(op_type, [flags, flags.T.copy()[:1]])


def test_integers_are_divided_towards_zero() -> None:
    assert_like_ort("Div", [np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])])


@pytest.mark.parametrize("fmod", [0, 1])
def test_modulo_takes_the_sign_of_divisor_or_dividend(fmod: int) -> None:
    assert_like_ort("Mod", [np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])], fmod=fmod)


def test_power_keeps_the_type_of_the_base() -> None:
    assert_like_ort("Pow", [np.array([1, 2, 3]), np.array([2.0, 2.0, 2.0], np.float32)])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bit_shift(direction: str) -> None:
    values = np.array([1, 2, 16], np.uint8)
    model, feeds = one_node("BitShift", [values, np.ones(3, np.uint8)], direction=direction)
    expected = values << 1 if direction == "LEFT" else values >> 1
    np.testing.assert_array_equal(run_imported(import_model(model), feeds)[0], expected)


@pytest.mark.parametrize("op_type", ["Sum", "Mean", "Min", "Max"])
@pytest.mark.parametrize("count", [1, 3])
def test_operators_of_many_tensors(op_type: str, count: int) -> None:
    assert_like_ort(op_type, [floats(2, 3, seed=seed) for seed in range(count)])


def test_where() -> None:
    assert_like_ort("Where", [np.array([[True], [False]]), floats(2, 3), floats(3)])


@pytest.mark.parametrize(
    "bounds",
    [
        {"min": -0.5, "max": 0.5},
        {"min": 0.0},
        {"max": 0.25},
        {},
    ],
)
def test_clip_with_bounds_as_attributes_and_as_inputs(bounds: dict[str, float]) -> None:
    assert_like_ort("Clip", [floats(3, 4)], opset=10, **bounds)
    limits = [np.float32(bounds[name]) if name in bounds else None for name in ("min", "max")]
    arrays = [None if limit is None else np.asarray(limit) for limit in limits]
    present = [position + 1 for position, array in enumerate(arrays) if array is not None]
    assert_like_ort("Clip", [floats(3, 4), *arrays], constant=present)
    assert_like_ort("Clip", [floats(3, 4), *arrays])


def test_clip_bounds_and_scalars_are_not_trained() -> None:
    low = np.asarray(np.float32(-1))
    imported = import_model(one_node("Clip", [floats(3), low], constant=[1])[0])
    assert not list(imported.module.parameters())
    np.testing.assert_array_equal(imported.weights()["x1"], low)


def test_an_operand_of_several_elements_is_trained() -> None:
    imported = import_model(one_node("Mul", [floats(2, 3), floats(3)], constant=[1])[0])
    imported.module(torch.ones(2, 3)).sum().backward()
    torch.testing.assert_close(imported.tensors["x1"].grad, torch.full((3,), 2.0))


def test_broadcasting_of_opset_6_is_refused() -> None:
    model, _ = one_node("Add", [floats(2, 3), floats(2)], opset=6, axis=0, broadcast=1)
    with pytest.raises(UnsupportedOperatorsError, match=r"'Add'.*with axis=0 is not covered"):
        import_model(model)
