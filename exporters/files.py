"""Writing the user's files: all of them whole, or none."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import onnx

from graph_analysis.errors import InputError

_Write = Callable[[IO[bytes]], object]


def write_models(models: Mapping[Path, onnx.ModelProto]) -> None:
    """Write every model to its path, or none of them; see :func:`copy_files`.

    Raises:
        InputError: A path cannot be written to.
    """
    _write_all({path: _writer(model) for path, model in models.items()})


def copy_files(sources: Mapping[Path, Path]) -> None:
    """Copy files to their paths (target -> source), or none of them; missing folders are made.

    Each goes to a temporary file beside its target, is forced to the disk and then renamed; a
    failure leaves neither temporaries nor half a file behind. Names are moved only when all the
    bytes are written.

    Raises:
        InputError: A path cannot be written to.
    """
    made: list[Path] = []
    try:
        for folder in {path.parent for path in sources}:
            _make(folder, made)
        _write_all({path: _copier(source) for path, source in sources.items()})
    except BaseException as error:
        for folder in reversed(made):
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        if isinstance(error, OSError):
            raise _not_writable(error, next(iter(sources))) from error
        raise


def check_writable(paths: Iterable[Path]) -> None:
    """Refuse now what could not be written later; leaves nothing behind.

    Raises:
        InputError: A path is a folder, a device or the like, or its folder takes no files.
    """
    for path in paths:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file"
            message = f"cannot write {path}: it is {what}"
            raise InputError(message, code="output-not-writable", param=str(path))
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        try:
            descriptor, name = tempfile.mkstemp(dir=folder, prefix=".secateur-")
        except OSError as error:
            raise _not_writable(error, path) from error
        os.close(descriptor)
        Path(name).unlink()


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it; note those that were not there."""
    if folder.is_dir():
        return
    _make(folder.parent, made)
    folder.mkdir()
    made.append(folder)


def _writer(model: onnx.ModelProto) -> _Write:
    return lambda file: file.write(model.SerializeToString())


def _copier(source: Path) -> _Write:
    def copy(file: IO[bytes]) -> None:
        with source.open("rb") as opened:
            shutil.copyfileobj(opened, file)

    return copy


def _write_all(writers: Mapping[Path, _Write]) -> None:
    written: dict[Path, Path] = {}
    try:
        for path, write in writers.items():
            written[path] = _write_beside(path, write)
        for path, temporary in written.items():
            temporary.replace(path)
    except OSError as error:
        raise _not_writable(error, next(iter(writers))) from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _not_writable(error: OSError, path: Path) -> InputError:
    message = f"cannot write {error.filename or path}: {error.strerror or error}"
    return InputError(message, code="output-not-writable")


def _write_beside(path: Path, write: _Write) -> Path:
    if path.is_dir():
        raise IsADirectoryError(0, "is a directory", str(path))
    if path.exists() and not path.is_file():
        raise OSError(0, "is no regular file", str(path))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _umask() -> int:
    """The process's file mode mask; there is no way to read it without setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
