"""Model files appear whole or not at all."""

import os
from pathlib import Path

import onnx
import pytest

from exporters.files import check_writable, copy_files, write_models
from graph_analysis.errors import InputError
from tests.unit.exporters.graphs import build, node


def model() -> onnx.ModelProto:
    return build({"x": ["n", 3]}, {"y": ["n", 3]}, [node("Relu", "x", "y")], {})


def test_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("old")
    write_models({tmp_path / "a.onnx": model(), tmp_path / "b.onnx": model()})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    assert onnx.load(tmp_path / "a.onnx") == model()
    assert (tmp_path / "a.onnx").stat().st_mode & 0o600 == 0o600


@pytest.mark.parametrize("bad", ["missing/b.onnx", "folder"])
def test_one_bad_path_leaves_no_file_at_all(tmp_path: Path, bad: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"cannot write .*{bad.split('/')[0]}") as caught:
        write_models({tmp_path / "a.onnx": model(), tmp_path / bad: model()})
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_failure_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.onnx"
    target.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("exporters.files.os.fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_models({target: model()})
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_copies_make_their_folder(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    copy_files({tmp_path / "made/a": tmp_path / "source", tmp_path / "b": tmp_path / "source"})
    assert (tmp_path / "made/a").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "made", "source"]


@pytest.mark.parametrize("bad", ["source/b", "folder"])
def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, bad: str) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        copy_files({tmp_path / "made/a": tmp_path / "source", tmp_path / bad: tmp_path / "source"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "source"]


def test_a_lost_source_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        copy_files({tmp_path / "made/a": tmp_path / "gone"})
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_written_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    check_writable([tmp_path / "a", tmp_path / "new/folder/b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("bad", ["folder", "file/below", "pipe"])
def test_what_cannot_be_written_is_said_at_once(tmp_path: Path, bad: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot write"):
        check_writable([tmp_path / "a", tmp_path / bad])
    with pytest.raises(InputError, match="cannot write"):
        copy_files({tmp_path / bad: tmp_path / "file"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "pipe"]
