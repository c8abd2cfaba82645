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
)

INDICES = [np.array(1), np.array(-1), np.array([0, 2, -3]), np.array([[0, 1], [-1, 2]])]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("constant", [(), (0,), (1,)])
def test_gather(index: np.ndarray, axis: int, constant: tuple[int, ...]) -> None:
    assert_like_ort("Gather", [floats(3, 4, 5), index], axis=axis, constant=constant)


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_gather_of_rows_is_an_embedding_with_a_gradient(index: np.ndarray) -> None:
    inputs = [floats(3, 4), index.astype(np.int32)]
    assert_like_ort("Gather", inputs, constant=[0])
    imported = import_model(one_node("Gather", inputs, constant=[0])[0])
    imported.module(torch.from_numpy(inputs[1])).sum().backward()
    counts = np.bincount(index.reshape(-1) % 3, minlength=3).astype(np.float32)
    torch.testing.assert_close(
        imported.tensors["x0"].grad, torch.from_numpy(counts)[:, None].expand(3, 4)
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_gather_elements(axis: int) -> None:
    index = np.array([[0, 1, -1], [1, 0, 0]])
    assert_like_ort("GatherElements", [floats(3, 3), index], axis=axis)
    assert_like_ort("GatherElements", [floats(3, 3), index], axis=axis, constant=[1])


@pytest.mark.parametrize(
    ("shape", "index", "batch_axes"),
    [
        ((3, 4), [[0, 1], [-1, 2]], 0),
        ((3, 4, 5), [[0], [2]], 0),
        ((3, 4, 5), [[[0, 1]], [[2, -1]]], 0),
        ((2, 3, 4), [[1], [0]], 1),
        ((2, 3, 4), [[[1, 0], [2, 3]], [[0, 0], [1, 1]]], 1),
    ],
)
def test_gather_nd(shape: tuple[int, ...], index: list[object], batch_axes: int) -> None:
    inputs = [floats(*shape), np.array(index)]
    assert_like_ort("GatherND", inputs, batch_dims=batch_axes)
    assert_like_ort("GatherND", inputs, batch_dims=batch_axes, constant=[1])


@pytest.mark.parametrize("reduction", ["none", "add", "mul"])
def test_scatter_nd(reduction: str) -> None:
    index = np.array([[0], [2], [0]]) if reduction != "none" else np.array([[0], [2], [1]])
    inputs = [floats(3, 4), index, floats(3, 4, seed=1)]
    assert_like_ort("ScatterND", inputs, reduction=reduction)


def test_scatter_nd_at_single_elements() -> None:
    inputs = [floats(3, 4), np.array([[0, 1], [2, -1]]), floats(2, seed=1)]
    assert_like_ort("ScatterND", inputs)
    assert_like_ort("ScatterND", inputs, opset=18, reduction="max")


@pytest.mark.parametrize("reduction", ["none", "add", "mul"])
def test_scatter_elements(reduction: str) -> None:
    inputs = [floats(3, 3), np.array([[0, 1, -1], [1, 0, 0]]), floats(2, 3, seed=1)]
    assert_like_ort("ScatterElements", inputs, axis=1, reduction=reduction)


def test_scatter_of_version_9() -> None:
    assert_like_ort("Scatter", [floats(3, 3), np.array([[0, 1]]), floats(1, 2)], opset=9, axis=1)


def test_non_zero() -> None:
    assert_like_ort("NonZero", [np.array([[1, 0], [0, 2]], np.float32)])


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_compress(axis: int | None) -> None:
    condition = np.array([True, False, True])
    named = {} if axis is None else {"axis": axis}
    assert_like_ort("Compress", [floats(3, 3), condition], **named)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    inputs = [np.array([0, 2, -1, 7]), np.array(4), np.array([-1, 2], np.float32)]
    assert_like_ort("OneHot", inputs, constant=[1, 2], axis=axis)


def test_grid_sample() -> None:
    x, grid = floats(1, 2, 4, 4), np.tanh(floats(1, 3, 3, 2))
    for align in (0, 1):
        assert_like_ort("GridSample", [x, grid], align_corners=align)
    model, feeds = one_node("GridSample", [x, grid], opset=20, mode="linear")
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(x), torch.from_numpy(grid), align_corners=False
    )
    assert_same(run_imported(import_model(model), feeds), [expected.numpy()])
