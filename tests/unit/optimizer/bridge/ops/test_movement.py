from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    model_of,
    one_node,
    run_imported,
    run_ort,
)


@pytest.mark.parametrize("target", [(6, 4), (-1,), (0, -1), (2, 0, 2, 2), (1, 24)])
@pytest.mark.parametrize("constant", [(), (1,)])
@pytest.mark.parametrize("free_batch", [False, True])
def test_reshape(target: tuple[int, ...], constant: tuple[int, ...], free_batch: bool) -> None:
    inputs = [floats(2, 3, 4), np.array(target)]
    assert_like_ort("Reshape", inputs, constant=constant, free_batch=free_batch and bool(constant))


def test_reshape_copies_two_free_sizes() -> None:
    model, _ = one_node("Reshape", [floats(2, 3, 4), np.array([0, 0, 2, 2])], constant=[1])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_param, dims[1].dim_param = "batch", "length"
    feeds = {"x0": floats(3, 5, 4)}
    assert_same(run_imported(import_model(model), feeds), run_ort(model, feeds))


def test_reshape_with_allowzero_makes_empty_tensors() -> None:
    model, feeds = one_node("Reshape", [floats(0, 3), np.array([3, 0])], constant=[1], allowzero=1)
    assert run_imported(import_model(model), feeds)[0].shape == (3, 0)


@pytest.mark.parametrize("axis", [None, 0, 2, 3, -1])
def test_flatten(axis: int | None) -> None:
    assert_like_ort("Flatten", [floats(2, 3, 4)], **({} if axis is None else {"axis": axis}))


@pytest.mark.parametrize("perm", [None, [0, 2, 1], [2, 0, 1]])
def test_transpose(perm: list[int] | None) -> None:
    assert_like_ort("Transpose", [floats(2, 3, 4)], **({} if perm is None else {"perm": perm}))


@pytest.mark.parametrize("axes", [None, [1], [1, -1], [-1]])
def test_squeeze(axes: list[int] | None) -> None:
    x = floats(2, 1, 3, 1)
    assert_like_ort("Squeeze", [x], opset=11, **({} if axes is None else {"axes": axes}))
    given = [] if axes is None else [np.array(axes)]
    assert_like_ort("Squeeze", [x, *given], constant=range(1, 1 + len(given)))
    assert_like_ort("Squeeze", [x, *given])


@pytest.mark.parametrize("axes", [[0], [1, 3], [-1], [-1, 0], [3, 1]])
def test_unsqueeze(axes: list[int]) -> None:
    assert_like_ort("Unsqueeze", [floats(2, 3)], opset=11, axes=axes)
    assert_like_ort("Unsqueeze", [floats(2, 3), np.array(axes)], constant=[1])
    assert_like_ort("Unsqueeze", [floats(2, 3), np.array(axes)])


@pytest.mark.parametrize("target", [(2, 3, 4), (3, 1), (1,)])
@pytest.mark.parametrize("constant", [(), (1,)])
def test_expand_broadcasts_in_both_directions(
    target: tuple[int, ...], constant: tuple[int, ...]
) -> None:
    assert_like_ort("Expand", [floats(3, 4), np.array(target)[-3:]], constant=constant)


def test_expand_with_a_free_batch() -> None:
    inputs = [floats(2, 1, 4), np.array([1, 3, 1])]
    assert_like_ort("Expand", inputs, constant=[1], free_batch=True)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int) -> None:
    assert_like_ort("Concat", [floats(2, 3), floats(2, 3, seed=1)], axis=axis)


@pytest.mark.parametrize("repeats", [(1, 2), (3, 1)])
@pytest.mark.parametrize("constant", [(), (1,)])
def test_tile(repeats: tuple[int, ...], constant: tuple[int, ...]) -> None:
    assert_like_ort("Tile", [floats(2, 3), np.array(repeats)], constant=constant)


@pytest.mark.parametrize("bounds", [{}, {"start": 1}, {"start": -2, "end": 2}, {"end": -1}])
@pytest.mark.parametrize("free_batch", [False, True])
def test_shape(bounds: dict[str, int], free_batch: bool) -> None:
    assert_like_ort("Shape", [floats(2, 3, 4)], free_batch=free_batch, **bounds)


@pytest.mark.parametrize("free_batch", [False, True])
def test_size(free_batch: bool) -> None:
    assert_like_ort("Size", [floats(2, 3, 4)], free_batch=free_batch)


@pytest.mark.parametrize(
    "wanted", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.BOOL, 1]
)
def test_cast(wanted: int) -> None:
    assert_like_ort("Cast", [np.array([-1.5, 0, 2.75], np.float32)], to=wanted)


def test_cast_like() -> None:
    assert_like_ort("CastLike", [floats(3), np.array([1, 2])])


def test_cast_to_strings_is_refused() -> None:
    model, _ = one_node("Cast", [floats(3)], to=TensorProto.STRING)
    with pytest.raises(UnsupportedOperatorsError, match="a type that torch cannot hold"):
        import_model(model)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    assert_like_ort("DepthToSpace", [floats(2, 8, 3, 4)], blocksize=2, mode=mode)


def test_space_to_depth() -> None:
    assert_like_ort("SpaceToDepth", [floats(2, 2, 4, 6)], blocksize=2)


@pytest.mark.parametrize("upper", [0, 1])
def test_triangle(upper: int) -> None:
    assert_like_ort("Trilu", [floats(4, 4), np.array(1)], constant=[1], upper=upper)
    assert_like_ort("Trilu", [floats(2, 4, 4)], upper=upper)


SLICES: list[tuple[list[int], list[int], list[int] | None, list[int] | None]] = [
    ([1], [3], None, None),
    ([0, 1], [2, 9], [0, 1], None),
    ([-3], [-1], [-1], None),
    ([0], [9223372036854775807], [1], [2]),
    ([-1], [-9223372036854775808], [1], [-1]),
    ([3, 0], [0, 2], [2, 0], [-2, 1]),
    ([2], [1], [1], None),
]


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES)
@pytest.mark.parametrize("is_constant", [False, True])
def test_slice(
    starts: list[int],
    ends: list[int],
    axes: list[int] | None,
    steps: list[int] | None,
    is_constant: bool,
) -> None:
    given = [None if item is None else np.array(item) for item in (starts, ends, axes, steps)]
    while given[-1] is None:
        given.pop()
    constant = [index + 1 for index, item in enumerate(given) if item is not None]
    assert_like_ort("Slice", [floats(3, 4, 5), *given], constant=constant if is_constant else ())


def test_slice_of_version_1() -> None:
    assert_like_ort("Slice", [floats(3, 4)], opset=9, starts=[1, -2], ends=[3, 100], axes=[0, 1])
    assert_like_ort("Slice", [floats(3, 4)], opset=9, starts=[1], ends=[2])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split(axis: int) -> None:
    x = floats(4, 4)
    assert_like_ort("Split", [x], opset=11, axis=axis, split=[1, 3], outputs=2)
    assert_like_ort("Split", [x], opset=11, axis=axis, outputs=2)
    assert_like_ort("Split", [x, np.array([1, 3])], axis=axis, constant=[1], outputs=2)
    assert_like_ort("Split", [x, np.array([1, 3])], axis=axis, outputs=2)


def test_split_into_parts_of_which_the_last_is_smaller() -> None:
    assert_like_ort("Split", [floats(7, 2)], opset=18, axis=0, num_outputs=3, outputs=3)


PADS: list[tuple[str, list[int]]] = [
    ("constant", [0, 0, 1, 2, 0, 0, 2, 0]),
    ("constant", [1, 0, 0, -1, 0, 2, 0, 0]),
    ("reflect", [0, 0, 1, 2, 0, 0, 2, 0]),
    ("edge", [0, 1, 1, 2, 0, 0, 2, 0]),
]


@pytest.mark.parametrize(("mode", "pads"), PADS)
@pytest.mark.parametrize("is_constant", [False, True])
def test_pad(mode: str, pads: list[int], is_constant: bool) -> None:
    x = floats(2, 3, 4, 5)
    assert_like_ort("Pad", [x], opset=10, mode=mode, pads=pads, value=1.5)
    constant = [1, 2] if is_constant else []
    fill = np.asarray(np.float32(1.5))
    assert_like_ort("Pad", [x, np.array(pads), fill], constant=constant, mode=mode)
    if mode == "constant":
        assert_like_ort("Pad", [x, np.array(pads), fill], constant=[1], mode=mode)


def test_pad_of_named_axes_and_by_nothing() -> None:
    inputs = [floats(2, 3, 4), np.array([1, 2]), None, np.array([-1])]
    assert_like_ort("Pad", inputs, constant=[1, 3], opset=18)
    assert_like_ort("Pad", [floats(2, 3), np.zeros(4, np.int64)], constant=[1])


def test_pad_wraps_around() -> None:
    x = floats(2, 4)
    model, feeds = one_node("Pad", [x, np.array([0, 3, 0, 5])], constant=[1], mode="wrap", opset=19)
    expected = np.pad(x, [(0, 0), (3, 5)], mode="wrap")
    assert_same(run_imported(import_model(model), feeds), [expected])


@pytest.mark.parametrize("value", [None, 2.5, 3])
def test_constant_of_shape(value: float | None) -> None:
    named: dict[str, Any] = {}
    if value is not None:
        array = np.array([value], np.float32 if isinstance(value, float) else np.int64)
        named["value"] = onnx.numpy_helper.from_array(array)
    assert_like_ort("ConstantOfShape", [np.array([2, 3])], constant=[0], **named)
    assert_like_ort("ConstantOfShape", [np.array([2, 3])], **named)


@pytest.mark.parametrize("bounds", [(0, 5, 1), (5, 0, -2), (3, 3, 1), (2, 0, 1), (0.0, 1.0, 0.25)])
@pytest.mark.parametrize("constant", [(), (0, 1, 2)])
def test_range(bounds: tuple[float, ...], constant: tuple[int, ...]) -> None:
    kind = np.float32 if isinstance(bounds[0], float) else np.int64
    assert_like_ort("Range", [np.asarray(bound, kind) for bound in bounds], constant=constant)


@pytest.mark.parametrize("diagonal", [0, 1, -2])
def test_eye_like(diagonal: int) -> None:
    assert_like_ort("EyeLike", [floats(3, 4)], k=diagonal)
    assert_like_ort("EyeLike", [floats(3, 4)], k=diagonal, dtype=TensorProto.INT64)


def test_identity_of_a_weight_is_the_weight() -> None:
    nodes = [
        helper.make_node("Identity", ["weight"], ["same"]),
        helper.make_node("MatMul", ["x", "same"], ["y"]),
    ]
    imported = import_model(model_of(nodes, {"x": (2, 3)}, ["y"], {"weight": floats(3, 4)}))
    assert isinstance(imported.tensors["weight"], torch.nn.Parameter)


def test_constants_that_torch_cannot_hold_are_refused() -> None:
    nodes = [
        helper.make_node("Constant", [], ["text"], value_string="abc", name="c"),
        helper.make_node("Identity", ["text"], ["y"]),
    ]
    with pytest.raises(UnsupportedOperatorsError, match="holds strings or a sparse tensor"):
        import_model(model_of(nodes, {"x": (2, 3)}, ["y"], {}))


def test_all_kinds_of_constants() -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=0.5),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0]),
        helper.make_node("Constant", [], ["c"], value_int=3),
        helper.make_node("Constant", [], ["d"], value=onnx.numpy_helper.from_array(floats(2))),
    ]
    model = model_of(nodes, {"x": (2, 3)}, ["a", "b", "c", "d"], {})
    assert_same(
        run_imported(import_model(model), {"x": floats(2, 3)}), run_ort(model, {"x": floats(2, 3)})
    )
