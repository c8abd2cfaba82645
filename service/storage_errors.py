"""What can go wrong in the artifact store, and how foreign exceptions become it.

The texts of system and library errors contain paths, so they never reach a client.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from obstore.exceptions import BaseError as StoreError

from graph_analysis.errors import SecateurError


class StorageError(SecateurError):
    """The store cannot be read or written."""

    default_code: ClassVar[str] = "storage-unavailable"


class ArtifactGoneError(StorageError):
    """A file that the database knows is no longer in the store."""

    default_code: ClassVar[str] = "gone"


class ArtifactCorruptError(StorageError):
    """The bytes in the store are not those that were published."""

    default_code: ClassVar[str] = "artifact-corrupt"


def unavailable() -> StorageError:
    """The error for a store that does not work."""
    return StorageError("the artifact store is not available; try again later")


def gone() -> ArtifactGoneError:
    """The error for an object that is not there."""
    return ArtifactGoneError("the file is no longer kept; run the job again")


def corrupt() -> ArtifactCorruptError:
    """The error for an object whose bytes have changed."""
    return ArtifactCorruptError("the stored file is damaged and is not handed out")


@contextmanager
def translated() -> Iterator[None]:
    """Turn obstore's exceptions into those of this module; their texts contain paths."""
    try:
        yield
    except FileNotFoundError as error:
        raise gone() from error
    except StoreError as error:
        raise unavailable() from error


@contextmanager
def removing(temporary: Path) -> Iterator[None]:
    """Remove ``temporary`` in the end; only a full disk stays an OSError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise unavailable() from error
    finally:
        temporary.unlink(missing_ok=True)
