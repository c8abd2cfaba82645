"""The artifact store: whole files or none, checked digests, generated keys only."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from service.storage import (
    ArtifactCorruptError,
    ArtifactGoneError,
    ArtifactStore,
    StorageError,
    content_key,
)

CONTENT = bytes(range(256)) * 5000  # more than one chunk
DIGEST = hashlib.sha256(CONTENT).hexdigest()
KEY = content_key("own_1", DIGEST)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "memory":
        return ArtifactStore("memory:///", incoming=tmp_path / "incoming")
    return ArtifactStore(f"file://{tmp_path}/store")


@pytest.fixture
def local(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/store")


def fill(path: Path, content: bytes = CONTENT) -> Path:
    path.write_bytes(content)
    return path


def test_what_is_put_comes_back_whole_and_in_parts(store: ArtifactStore, tmp_path: Path) -> None:
    source = fill(tmp_path / "source")
    stored = store.put_file(source, KEY)
    assert (stored.key, stored.sha256, stored.size) == (KEY, DIGEST, len(CONTENT))
    assert source.exists()
    assert store.exists(KEY)
    assert store.size(KEY) == len(CONTENT)
    assert b"".join(store.open_stream(KEY)) == CONTENT
    assert b"".join(store.open_stream(KEY, start=3, end=9)) == CONTENT[3:9]
    store.verify(KEY, DIGEST)


def test_an_unknown_key_is_gone_in_every_way(store: ArtifactStore, tmp_path: Path) -> None:
    assert not store.exists(KEY)
    for read in (store.size, lambda key: list(store.open_stream(key))):
        with pytest.raises(ArtifactGoneError, match="no longer kept"):
            read(KEY)
    with pytest.raises(ArtifactGoneError):
        store.verify(KEY, DIGEST)
    store.delete(KEY)  # nothing to do is not an error


def test_deleting_removes(store: ArtifactStore, tmp_path: Path) -> None:
    store.put_file(fill(tmp_path / "source"), KEY)
    store.delete(KEY)
    assert not store.exists(KEY)


def test_adopting_keeps_the_temporary_usable(store: ArtifactStore) -> None:
    temporary = fill(store.new_temporary())
    store.adopt_file(temporary, KEY)
    store.adopt_file(temporary, KEY)
    store.delete(KEY)
    store.adopt_file(temporary, KEY)
    temporary.unlink()
    assert b"".join(store.open_stream(KEY)) == CONTENT


def test_fetching_checks_the_digest(store: ArtifactStore, tmp_path: Path) -> None:
    store.put_file(fill(tmp_path / "source"), KEY)
    store.fetch(KEY, tmp_path / "copy", sha256=DIGEST)
    assert (tmp_path / "copy").read_bytes() == CONTENT
    with pytest.raises(ArtifactCorruptError):
        store.fetch(KEY, tmp_path / "other", sha256="0" * 64)
    assert not (tmp_path / "other").exists()


def test_nothing_unfinished_is_left_behind(local: ArtifactStore, tmp_path: Path) -> None:
    local.put_file(fill(tmp_path / "source"), KEY)
    local.ping()
    assert list((tmp_path / "store/incoming").iterdir()) == []


def test_a_flipped_byte_is_found_although_the_file_was_sound_before(
    local: ArtifactStore, tmp_path: Path
) -> None:
    local.put_file(fill(tmp_path / "source"), KEY)
    local.verify(KEY, DIGEST)
    path = local.local_path(KEY)
    assert path is not None
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ArtifactCorruptError, match="damaged"):
        local.verify(KEY, DIGEST)


def test_a_sound_file_is_hashed_once(
    local: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.put_file(fill(tmp_path / "source"), KEY)
    local.verify(KEY, DIGEST)

    def read_again(*args: object, **kwargs: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ArtifactStore, "open_stream", read_again)
    local.verify(KEY, DIGEST)


def test_putting_again_heals_a_damaged_object(local: ArtifactStore, tmp_path: Path) -> None:
    source = fill(tmp_path / "source")
    local.put_file(source, KEY)
    path = local.local_path(KEY)
    assert path is not None
    path.write_bytes(b"damaged")
    local.put_file(source, KEY)
    local.verify(KEY, DIGEST)


@pytest.mark.parametrize("key", ["", "a", "/a/b", "../a/b", "a/../b", "a/b c", "a//b", "a/b\n"])
def test_only_generated_keys_are_accepted(store: ArtifactStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.exists(key)


def test_old_unfinished_files_are_swept_and_young_ones_stay(local: ArtifactStore) -> None:
    old, young = fill(local.new_temporary()), fill(local.new_temporary())
    os.utime(old, (1, 1))
    assert local.sweep_temporaries(older_than=3600) == 1
    assert young.exists()
    assert not old.exists()


def test_a_missing_folder_is_trouble_of_the_store(local: ArtifactStore, tmp_path: Path) -> None:
    source = fill(tmp_path / "source")
    (tmp_path / "store").rename(tmp_path / "moved")
    for act in (local.ping, lambda: local.put_file(source, KEY)):
        with pytest.raises(StorageError, match="not available") as caught:
            act()
        assert caught.value.code == "storage-unavailable"
        assert str(tmp_path) not in str(caught.value)
    (tmp_path / "moved").rename(tmp_path / "store")
    local.ping()
    (tmp_path / "store/objects").rmdir()
    with pytest.raises(StorageError):
        local.ping()


def test_a_full_disk_stays_recognisable(
    local: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("service.storage.shutil.copyfile", full)
    with pytest.raises(OSError, match="full"):
        local.put_file(fill(tmp_path / "source"), KEY)
    assert list((tmp_path / "store/incoming").iterdir()) == []
    assert not local.exists(KEY)


def test_trouble_of_the_object_store_is_translated(
    local: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obstore.exceptions import GenericError

    def broken(*args: object) -> None:
        message = f"secret path {tmp_path}"
        raise GenericError(message)

    monkeypatch.setattr("service.storage.obstore.head", broken)
    with pytest.raises(StorageError, match="try again later"):
        local.exists(KEY)


def test_space_is_checked(local: ArtifactStore) -> None:
    local.require_space(1)
    with pytest.raises(StorageError, match="too little disk space") as caught:
        local.require_space(2**80)
    assert caught.value.code == "insufficient-storage"


def test_other_addresses_are_refused() -> None:
    with pytest.raises(StorageError, match="not supported") as caught:
        ArtifactStore("ftp://host/x")
    assert caught.value.param == "SECATEUR_STORE_URL"
    with pytest.raises(ValueError, match="incoming"):
        ArtifactStore("memory:///")
