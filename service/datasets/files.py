"""Reads local files below the allowed folders, and nothing else, whatever links there are.

The path is resolved first and then opened component by component from the root without following
links, so that a link put in place between the check and the opening is not followed either.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.datasets.fetch import Fetched, nothing, removed_on_failure, too_large
from service.datasets.uris import forbidden
from service.errors import DatasetError

_CHUNK_BYTES = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block us


@contextmanager
def open_below(path: Path, roots: Sequence[Path]) -> Iterator[BinaryIO]:
    """Open a regular file below one of ``roots``.

    Args:
        path: Absolute path.
        roots: Allowed folders.

    Raises:
        DatasetError: ``dataset-uri-forbidden`` (outside, a link, a device, a folder) or
            ``dataset-unavailable`` (there is no such file, or it may not be read).
    """
    real = Path(os.path.realpath(path))
    root = next((r for r in map(_real, roots) if real.is_relative_to(r)), None)
    if root is None:
        raise forbidden()
    try:
        descriptor = _open_regular(root, real.relative_to(root).parts)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise forbidden() from error
        message = "the data set's file does not exist below the allowed folders, or is not readable"
        raise DatasetError(message, code="dataset-unavailable", param="dataset") from error
    with os.fdopen(descriptor, "rb") as file:
        yield file


def copy_below(
    path: Path,
    roots: Sequence[Path],
    target: Path,
    *,
    limit: int,
    alive: Callable[[], None] = nothing,
) -> Fetched:
    """Copy a file below one of ``roots`` to ``target``, counting and hashing.

    Raises:
        DatasetError: As :func:`open_below`, or ``dataset-too-large``; ``target`` is then removed.
    """
    digest, count = hashlib.sha256(), 0
    with open_below(path, roots) as source:
        size = os.fstat(source.fileno()).st_size
        if size > limit:
            raise too_large(limit, size)
        with removed_on_failure(target), target.open("wb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                count += len(chunk)
                if count > limit:  # it grew while it was read
                    raise too_large(limit, None)
                digest.update(chunk)
                file.write(chunk)
                alive()
    return Fetched(bytes=count, sha256=digest.hexdigest())


def _real(root: Path) -> Path:
    return Path(os.path.realpath(root))


def _open_regular(root: Path, parts: Sequence[str]) -> int:
    """Open ``root/parts...`` and make sure that it is a file; a folder or device is not."""
    descriptor = _walk(root, parts)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise forbidden()
    return descriptor


def _walk(root: Path, parts: Sequence[str]) -> int:
    """Open ``root/parts...`` without following any link; the root itself was resolved."""
    current = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = inner
        return os.open(parts[-1] if parts else ".", _FILE, dir_fd=current)
    finally:
        os.close(current)
