"""Writing model files: whole or not at all."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx

from graph_analysis.errors import InputError


def write_models(models: Mapping[Path, onnx.ModelProto]) -> None:
    """Write every model to its path, or none of them.

    Each goes to a temporary file beside its target, is forced to the disk and then renamed; a
    failure leaves neither temporaries nor half a file behind. Names are moved only when all the
    bytes are written.

    Raises:
        InputError: A path cannot be written to.
    """
    written: dict[Path, Path] = {}
    try:
        for path, model in models.items():
            written[path] = _write_beside(path, model)
        for path, temporary in written.items():
            temporary.replace(path)
    except OSError as error:
        failed = error.filename or next(iter(models))
        message = f"cannot write {failed}: {error.strerror or error}"
        raise InputError(message, code="output-not-writable") from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _write_beside(path: Path, model: onnx.ModelProto) -> Path:
    if path.is_dir():
        raise IsADirectoryError(0, "is a directory", str(path))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(model.SerializeToString())
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
