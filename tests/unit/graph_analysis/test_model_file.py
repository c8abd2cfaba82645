"""A file read weight by weight: the model and digest of its bytes, in half the memory."""

import hashlib
from pathlib import Path

import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from graph_analysis.errors import ModelError
from graph_analysis.loading import load_model
from graph_analysis.model_file import WireError, read_model
from graph_analysis.testing import HARD_CASES


@pytest.mark.parametrize("name", ["residual_add", "fused_qkv", "gru", "qdq_int8_weights"])
def test_the_model_and_the_digest_are_those_of_the_bytes(name: str, tmp_path: Path) -> None:
    model = HARD_CASES[name]()
    model.metadata_props.add(key="a", value="b")
    model.graph.doc_string = "words"
    data = model.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    found, digest = read_model(tmp_path / "m.onnx")
    assert found == model
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
    assert load_model(tmp_path / "m.onnx").sha256 == load_model(data).sha256


def test_fields_come_in_any_order_and_more_than_once(tmp_path: Path) -> None:
    """A message may be written in parts; protobuf merges them, in order."""
    model = HARD_CASES["residual_add"]()
    first, second = onnx.ModelProto(), onnx.ModelProto()
    second.CopyFrom(model)
    del second.graph.initializer[2:]
    first.graph.initializer.extend(model.graph.initializer[2:])
    data = first.SerializeToString() + second.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    expected = onnx.load_model_from_string(data)
    assert read_model(tmp_path / "m.onnx")[0] == expected
    assert len(expected.graph.initializer) == len(model.graph.initializer)


@pytest.mark.parametrize("cut", [1, 7, 100, 5000])
def test_a_truncated_file_is_refused_as_its_bytes_are(cut: int, tmp_path: Path) -> None:
    data = HARD_CASES["residual_add"]().SerializeToString()[:-cut]
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises((WireError, DecodeError)):
        read_model(tmp_path / "m.onnx")
    with pytest.raises(ModelError) as error:
        load_model(tmp_path / "m.onnx")
    assert error.value.code == "model-truncated"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("# Secateur\n" * 100)
    with pytest.raises(ModelError, match="not an ONNX model"):
        load_model(tmp_path / "m.onnx")


def test_reading_takes_little_more_than_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No string of bytes is as long as the file: the longest is that of one weight."""
    model = HARD_CASES["residual_add"]()
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    longest = 0
    take = read_model.__globals__["_Reader"].take

    def spy(self: object, count: int) -> bytes:
        nonlocal longest
        longest = max(longest, count)
        return bytes(take(self, count))

    monkeypatch.setattr("graph_analysis.model_file._Reader.take", spy)
    read_model(tmp_path / "m.onnx")
    largest = max(numpy_helper.to_array(t).nbytes for t in model.graph.initializer)
    assert largest <= longest < largest + 100
