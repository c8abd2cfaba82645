"""Artifacts by content: models and reports under ``<owner>/<sha256>``.

One class over obstore. On a local disk files are moved into place by this module itself, because
obstore does not flush to disk: temporary name in the same file system, fsync, link, fsync of the
folder. Everything else (an in-memory store, later S3) goes through obstore alone. Users never
choose a key.
"""

import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, MemoryStore

from service.durable_files import modified_at, move_durably, sha256_of, stamp_of
from service.storage_errors import (
    ArtifactCorruptError,
    ArtifactGoneError,
    StorageError,
    corrupt,
    gone,
    removing,
    translated,
    unavailable,
)

__all__ = [
    "ArtifactCorruptError",
    "ArtifactGoneError",
    "ArtifactStore",
    "StorageError",
    "StoredFile",
    "content_key",
    "sha256_of",
]

CHUNK_BYTES = 1024 * 1024
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}(/[A-Za-z0-9_.-]{1,120}){1,4}")
_OBJECTS = "objects"  # the part of a local store that obstore sees
_INCOMING = "incoming"  # unfinished files, in the same file system as the objects


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """What was put: its key, SHA-256 in hexadecimal, and size in bytes."""

    key: str
    sha256: str
    size: int


def content_key(owner: str, sha256: str) -> str:
    """The key of content: per owner, since sharing across owners would reveal what others have."""
    return f"{owner}/{sha256}"


class ArtifactStore:
    """Files under generated keys; a key's bytes never change once they are in.

    Args:
        url: ``file:///folder`` or ``memory:///`` (tests; lives as long as this object).
        incoming: Folder of unfinished files for stores that are not on a local disk.
    """

    def __init__(self, url: str, *, incoming: Path | None = None) -> None:
        parts = urlsplit(url)
        self._root: Path | None = None
        self._store: LocalStore | MemoryStore
        if parts.scheme == "file" and parts.netloc in ("", "localhost"):
            self._root = Path(unquote(parts.path)).resolve()
            (self._root / _OBJECTS).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store = LocalStore(self._root / _OBJECTS)
        elif parts.scheme == "memory":
            self._store = MemoryStore()
        else:
            message = (
                f"SECATEUR_STORE_URL: '{parts.scheme}://' is not supported; use file:///folder"
            )
            raise StorageError(message, code="invalid-request", param="SECATEUR_STORE_URL")
        folder = self._root / _INCOMING if self._root else incoming
        if folder is None:
            message = "a store that is not on a local disk needs a folder for incoming files"
            raise ValueError(message)
        self._incoming = folder
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.exclusive = threading.Lock()  # for changing files and database rows together
        self._sound: dict[str, tuple[int, int, int]] = {}  # key -> the stat that was hashed

    def new_temporary(self) -> Path:
        """A fresh path for an unfinished file, in the file system of the objects."""
        return self._incoming / f"{secrets.token_hex(16)}.part"

    def sweep_temporaries(self, *, older_than: float) -> int:
        """Remove unfinished files that nobody touched for ``older_than`` seconds; how many."""
        limit = time.time() - older_than
        stale = [path for path in self._incoming.glob("*.part") if modified_at(path) < limit]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def require_space(self, size: int) -> None:
        """Check that ``size`` bytes can be written where incoming files go.

        Raises:
            StorageError: ``insufficient-storage``.
        """
        free = shutil.disk_usage(self._incoming).free
        if free < size:
            message = "the service has too little disk space for this upload; try again later"
            raise StorageError(message, code="insufficient-storage")

    def put_file(self, path: Path, key: str) -> StoredFile:
        """Store a copy of ``path``; the file itself stays where it is.

        Atomic: a reader sees the whole file or none. Repeating it is harmless.

        Raises:
            StorageError: The store is not available.
            OSError: The disk is full.
        """
        _check_key(key)
        digest, size = sha256_of(path), path.stat().st_size
        if self._root is None:
            with translated(), path.open("rb") as file:
                obstore.put(self._store, key, file)
        else:
            self._putremoving(path, self._root / _OBJECTS / key)
        return StoredFile(key=key, sha256=digest, size=size)

    def _putremoving(self, source: Path, target: Path) -> None:
        temporary = self.new_temporary()
        with removing(temporary):
            shutil.copyfile(source, temporary)
            move_durably(temporary, target)

    def adopt_file(self, path: Path, key: str) -> None:
        """Store ``path``, which :meth:`new_temporary` named, without copying its bytes.

        The temporary name stays usable (a second link), so the caller can adopt it again if the
        object was deleted in between; the caller removes it in the end.
        """
        _check_key(key)
        if self._root is None:
            self.put_file(path, key)
            return
        target = self._root / _OBJECTS / key
        second = self.new_temporary()
        with removing(second):
            os.link(path, second)
            move_durably(second, target)

    def exists(self, key: str) -> bool:
        """Whether an object is there."""
        return self._size(key) is not None

    def size(self, key: str) -> int:
        """Size in bytes.

        Raises:
            ArtifactGoneError: There is no such object.
        """
        size = self._size(key)
        if size is None:
            raise gone()
        return size

    def _size(self, key: str) -> int | None:
        _check_key(key)
        try:
            with translated():
                return int(obstore.head(self._store, key)["size"])
        except ArtifactGoneError:
            return None

    def local_path(self, key: str) -> Path | None:
        """The file behind a key, or None if the store is not on a local disk."""
        _check_key(key)
        return None if self._root is None else self._root / _OBJECTS / key

    def open_stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes from ``start`` up to ``end`` (exclusive), in chunks.

        Raises:
            ArtifactGoneError: There is no such object.
        """
        stop = self.size(key) if end is None else end
        for offset in range(start, stop, CHUNK_BYTES):
            with translated():
                chunk = obstore.get_range(
                    self._store, key, start=offset, end=min(offset + CHUNK_BYTES, stop)
                )
            yield bytes(chunk)

    def fetch(self, key: str, target: Path, *, sha256: str) -> None:
        """Copy an object to ``target`` and check its digest on the way.

        Raises:
            ArtifactGoneError: There is no such object.
            ArtifactCorruptError: The bytes differ; ``target`` is removed.
        """
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self.open_stream(key):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            target.unlink()
            raise corrupt()

    def verify(self, key: str, sha256: str) -> None:
        """Check an object against its published digest, hashing a local file only when it changed.

        Raises:
            ArtifactGoneError: There is no such object.
            ArtifactCorruptError: The bytes differ.
        """
        path = self.local_path(key)
        stamp = None if path is None else stamp_of(path)
        if stamp is not None and self._sound.get(key) == stamp:
            return
        digest = hashlib.sha256()
        for chunk in self.open_stream(key):
            digest.update(chunk)
        if digest.hexdigest() != sha256:
            self._sound.pop(key, None)
            raise corrupt()
        if stamp is not None:
            self._sound[key] = stamp

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if it is not there."""
        _check_key(key)
        self._sound.pop(key, None)
        try:
            with translated():
                obstore.delete(self._store, key)
        except ArtifactGoneError:
            return

    def ping(self) -> None:
        """Write and remove a small file.

        Raises:
            StorageError: The store cannot be written.
        """
        probe = self.new_temporary()
        with removing(probe):
            probe.write_bytes(b"ping")
        if self._root is not None and not (self._root / _OBJECTS).is_dir():
            raise unavailable()


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key) or ".." in key:
        message = f"not a key of the artifact store: {key!r}"
        raise ValueError(message)
