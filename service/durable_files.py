"""Files that are whole or absent, also after the power fails: flush, rename, flush the folder."""

import hashlib
import os
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_durably(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` in the same file system, replacing it; folders are made.

    When the call returns, bytes and name are on the disk.
    """
    with source.open("rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder, and with it the names in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def modified_at(path: Path) -> float:
    """Time of the last change in seconds; infinity if the file is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # somebody else finished with it
        return float("inf")


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file changes: inode, size, time; None if there is no such file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
