"""Weights in other files and in sparse form: taken in where safe, refused by name where not."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.errors import ModelError
from graph_analysis.external_data import densify, external_tensors, stored_bytes
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.testing import HARD_CASES

INLINE = HARD_CASES["residual_add"]()


def saved(folder: Path) -> Path:
    """The model with its weights in ``data/weights.bin`` under ``folder``."""
    path = folder / "model.onnx"
    (folder / "data").mkdir()
    onnx.save(
        onnx.ModelProto.FromString(INLINE.SerializeToString()),
        path,
        save_as_external_data=True,
        location="data/weights.bin",
        size_threshold=0,
    )
    return path


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    loaded = load_model(saved(tmp_path))
    whole = load_model(INLINE.SerializeToString())
    assert not external_tensors(loaded.model)
    for ours, theirs in zip(
        loaded.model.graph.initializer, whole.model.graph.initializer, strict=True
    ):
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))
    assert [g.id for g in analyze(loaded).space.groups] == [
        g.id for g in analyze(whole).space.groups
    ]


def test_the_digest_covers_the_data(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = load_model(path).sha256
    data = tmp_path / "data" / "weights.bin"
    data.write_bytes(bytes(data.stat().st_size))
    assert load_model(path).sha256 != before


def test_bytes_with_weights_elsewhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="separate file") as caught:
        load_model(saved(tmp_path).read_bytes())
    assert caught.value.code == "model-external-data"


def _location(value: str) -> Callable[[Path, TensorProto], None]:
    return lambda _, tensor: _entry(tensor, "location", value)


def _entry(tensor: TensorProto, key: str, value: str) -> None:
    kept = [(e.key, e.value) for e in tensor.external_data if e.key != key]
    del tensor.external_data[:]
    for name, text in (*kept, (key, value)):
        tensor.external_data.add(key=name, value=text)


def _link(folder: Path, tensor: TensorProto) -> None:
    (folder / "link").symlink_to(folder.parent / "outside.bin")
    _entry(tensor, "location", "link")


def _folder_link(folder: Path, tensor: TensorProto) -> None:
    (folder / "up").symlink_to(folder.parent)
    _entry(tensor, "location", "up/outside.bin")


def _pipe(folder: Path, tensor: TensorProto) -> None:
    os.mkfifo(folder / "pipe")
    _entry(tensor, "location", "pipe")


BAD = {
    "absolute": (_location("/etc/passwd"), "not a path inside"),
    "parent": (_location("../outside.bin"), "not a path inside"),
    "hidden parent": (_location("data/../../outside.bin"), "not a path inside"),
    "drive": (_location("C:\\weights"), "not a path inside"),
    "backslashes": (_location("..\\outside.bin"), "not a path inside"),
    "nothing": (_location(""), "not a path inside"),
    "zero byte": (_location("da\0ta"), "not there"),
    "missing": (_location("gone.bin"), "not there"),
    "folder": (_location("data"), "no regular file"),
    "link": (_link, "leads out"),
    "folder link": (_folder_link, "leads out"),
    "pipe": (_pipe, "no regular file"),
    "short": (lambda _, tensor: _entry(tensor, "length", "1"), "1 bytes"),
    "behind the end": (lambda _, tensor: _entry(tensor, "offset", str(2**50)), "of a file"),
    "before the start": (lambda _, tensor: _entry(tensor, "offset", "-8"), "of a file"),
    "words": (lambda _, tensor: _entry(tensor, "offset", "first"), "no number"),
    "too large": (lambda _, tensor: tensor.dims.extend([2**31]), "2 GiB"),
    "negative": (lambda _, tensor: tensor.dims.append(-1), "shape"),
    "text": (lambda _, tensor: setattr(tensor, "data_type", TensorProto.STRING), "text"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_beside_the_model_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(1 << 20))
    path = saved(folder)
    model = onnx.load(path, load_external_data=False)
    change, words = BAD[name]
    change(folder, model.graph.initializer[0])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=words) as caught:
        load_model(path)
    assert caught.value.code == "model-external-data"
    assert caught.value.param == model.graph.initializer[0].name
    assert "\n" not in str(caught.value)


def test_tensors_in_attributes_and_bodies_are_found() -> None:
    def outside(name: str) -> TensorProto:
        return TensorProto(name=name, data_type=1, data_location=TensorProto.EXTERNAL)

    body = helper.make_graph([], "body", [], [], [outside("inner")])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=outside("value")),
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    assert [t.name for t in external_tensors(model)] == ["value", "inner", "inner"]


@pytest.mark.parametrize(
    ("data_type", "dims", "size"),
    [("FLOAT", (3, 5), 60), ("BFLOAT16", (3,), 6), ("INT4", (3,), 2), ("INT8", (), 1)],
)
def test_stored_bytes(data_type: str, dims: tuple[int, ...], size: int) -> None:
    kind = TensorProto.DataType.Value(data_type)
    assert stored_bytes(TensorProto(data_type=kind, dims=dims)) == size


def sparse(indices: np.ndarray, dims: tuple[int, ...]) -> onnx.GraphProto:
    values = numpy_helper.from_array(np.arange(1, len(indices) + 1, dtype=np.float32), "w")
    tensor = helper.make_sparse_tensor(values, numpy_helper.from_array(indices), list(dims))
    return onnx.GraphProto(sparse_initializer=[tensor])


@pytest.mark.parametrize("indices", [np.array([1, 5]), np.array([[0, 1], [1, 2]])])
def test_sparse_initializers_become_plain(indices: np.ndarray) -> None:
    graph = sparse(indices, (2, 3))
    densify(graph)
    assert not graph.sparse_initializer
    assert graph.initializer[0].name == "w"
    values = numpy_helper.to_array(graph.initializer[0])
    np.testing.assert_array_equal(values, np.array([[0, 1, 0], [0, 0, 2]], np.float32))


@pytest.mark.parametrize(
    ("indices", "dims", "words"),
    [
        (np.array([6]), (2, 3), "outside"),
        (np.array([-1]), (2, 3), "outside"),
        (np.array([[0, 3]]), (2, 3), "outside"),
        (np.array([0]), (1 << 20, 1 << 20), "2 GiB"),
    ],
)
def test_sparse_initializers_that_do_not_fit_are_refused(
    indices: np.ndarray, dims: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        densify(sparse(indices, dims))
    assert caught.value.param == "w"
