"""Files that are whole or absent."""

import hashlib
from pathlib import Path

import pytest

from service.durable_files import modified_at, move_durably, sha256_of, stamp_of


def test_moving_makes_folders_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/target").write_bytes(b"old")
    move_durably(tmp_path / "source", tmp_path / "a/target")
    assert (tmp_path / "a/target").read_bytes() == b"new"
    assert not (tmp_path / "source").exists()


def test_bytes_are_flushed_before_the_name_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    target = tmp_path / "folder/target"
    monkeypatch.setattr(
        "service.durable_files.os.fsync",
        lambda descriptor: seen.append(
            (str(Path(f"/proc/self/fd/{descriptor}").readlink()), target.exists())
        ),
    )
    (tmp_path / "source").write_bytes(b"x")
    move_durably(tmp_path / "source", target)
    assert seen == [(str(tmp_path / "source"), False), (str(tmp_path / "folder"), True)]


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_stamps_change_with_the_file_and_end_with_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before = stamp_of(path)
    assert stamp_of(path) == before
    path.write_bytes(b"abcd")
    assert stamp_of(path) != before
    assert modified_at(path) > 0
    path.unlink()
    assert stamp_of(path) is None
    assert modified_at(path) == float("inf")
