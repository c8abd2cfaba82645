import numpy as np
import pytest
import torch

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    one_node,
    run_imported,
    run_ort,
)

REDUCTIONS = [
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
]


@pytest.mark.parametrize("op_type", REDUCTIONS)
@pytest.mark.parametrize("axes", [None, [1], [-1, 0]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes_as_attribute_and_as_input(
    op_type: str, axes: list[int] | None, keepdims: int
) -> None:
    x = np.abs(floats(2, 3, 4)) + 0.1
    named = {} if axes is None else {"axes": axes}
    assert_like_ort(op_type, [x], opset=11, keepdims=keepdims, **named)
    given = [] if axes is None else [np.array(axes)]
    constant = range(1, 1 + len(given))
    assert_like_ort(op_type, [x, *given], opset=18, keepdims=keepdims, constant=constant)
    assert_like_ort(op_type, [x, *given], opset=18, keepdims=keepdims)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceL2", "ReduceSumSquare"])
@pytest.mark.parametrize("constant", [(), (1,)])
def test_without_axes_nothing_is_reduced_if_the_node_says_so(
    op_type: str, constant: tuple[int, ...]
) -> None:
    model, feeds = one_node(
        op_type,
        [floats(2, 3), np.array([], np.int64)],
        opset=18,
        constant=constant,
        noop_with_empty_axes=1,
    )
    x = feeds["x0"]
    expected = {"ReduceSum": x, "ReduceL2": np.abs(x), "ReduceSumSquare": x * x}[op_type]
    assert_same(run_imported(import_model(model), feeds), [expected])


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceSum", "ReduceL2", "ReduceProd"])
def test_integers_stay_integers(op_type: str) -> None:
    assert_like_ort(op_type, [np.arange(1, 7, dtype=np.int32).reshape(2, 3)], opset=13)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_booleans(op_type: str) -> None:
    flags = np.array([[True, False], [True, True]])
    model, feeds = one_node(op_type, [flags, np.array([1])], opset=20, constant=[1], keepdims=0)
    expected = flags.any(1) if op_type == "ReduceMax" else flags.all(1)
    assert_same(run_imported(import_model(model), feeds), [expected])


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_position_of_extreme(op_type: str, last: int) -> None:
    x = np.array([[1, 3, 3], [0, 0, 2]], np.float32)
    assert_like_ort(op_type, [x], axis=1, select_last_index=last, keepdims=0)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sum(exclusive: int, reverse: int) -> None:
    inputs = [floats(2, 4), np.array(1)]
    assert_like_ort("CumSum", inputs, constant=[1], exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("largest", [0, 1])
def test_largest_elements(largest: int) -> None:
    x = np.array([[1, 3, 3, 2], [0, 5, 2, 2]], np.float32)
    inputs = [x, np.array([3])]
    assert_like_ort("TopK", inputs, constant=[1], outputs=2, largest=largest)
    assert_like_ort("TopK", inputs, outputs=2, largest=largest)


def test_largest_elements_with_their_number_as_attribute() -> None:
    assert_like_ort("TopK", [floats(2, 5)], opset=9, outputs=2, k=2)


def test_the_largest_elements_have_a_gradient() -> None:
    imported = import_model(
        one_node("TopK", [floats(5), np.array([2])], constant=[1], outputs=2)[0]
    )
    x = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0], requires_grad=True)
    imported.module(x)[0].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
def test_softmax_flattens_up_to_opset_12(op_type: str, opset: int, axis: int | None) -> None:
    named = {} if axis is None else {"axis": axis}
    model, feeds = one_node(op_type, [floats(2, 3, 4)], opset=opset, **named)
    assert_same(run_imported(import_model(model), feeds), run_ort(model, feeds))
