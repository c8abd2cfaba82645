"""The parts of a multipart form: one file on disk, and short texts in memory.

Each part counts its own bytes while they arrive, so that nothing is kept beyond its limit. How the
parts are found in the body is the business of ``uploads``.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from streaming_form_data.targets import BaseTarget

from graph_analysis.errors import InputError

FILE_FIELD = "model"
FIRST_BYTES = 4096  # kept in memory for the check of magic bytes
_TEXT_LIMITS = {"job": 256 * 1024, "dataset": 8 * 1024, "metadata": 16 * 1024}
_TEXT_LIMIT = 4 * 1024


class UploadError(InputError):
    """The form cannot be used.

    Attributes:
        limit: The limit that was exceeded, if there is one.
        actual: What came instead.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        limit: int | None = None,
        actual: int | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.limit = limit
        self.actual = actual


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """The file of a form, on disk.

    Attributes:
        path: A temporary file, removed when the form is closed.
        name: File name as the client gave it, without folders; display only.
        sha256: Hexadecimal digest of the bytes.
        size: In bytes.
        first_bytes: The beginning of the file.
    """

    path: Path
    name: str
    sha256: str
    size: int
    first_bytes: bytes


@dataclass(frozen=True, kw_only=True)
class ReceivedForm:
    """All parts of one form; text fields by name, in the order of arrival."""

    file: UploadedFile | None
    texts: dict[str, str]


class FileTarget(BaseTarget):  # type: ignore[misc] # the library has no type hints
    """Write, count and hash the file part."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__()
        self._path = path
        self._limit = limit
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None
        self.size = 0
        self.first_bytes = b""

    def on_start(self) -> None:
        """Open the file; it must not exist."""
        if self._file is not None:
            raise _twice(FILE_FIELD)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb")

    def on_data_received(self, chunk: bytes) -> None:
        """Count, hash and write a chunk.

        Raises:
            UploadError: The file is larger than the limit.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            raise model_too_large(self._limit, None)
        if len(self.first_bytes) < FIRST_BYTES:
            self.first_bytes += chunk[: FIRST_BYTES - len(self.first_bytes)]
        self._digest.update(chunk)
        assert self._file is not None
        self._file.write(chunk)

    def on_finish(self) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; harmless if it never came."""
        if self._file is not None and not self._file.closed:
            self._file.close()

    @property
    def result(self) -> UploadedFile | None:
        """What came, or None."""
        if self._file is None:
            return None
        name = (self.multipart_filename or "").replace("\\", "/").rsplit("/", 1)[-1]
        return UploadedFile(
            path=self._path,
            name=name[:200] or "model.onnx",
            sha256=self._digest.hexdigest(),
            size=self.size,
            first_bytes=self.first_bytes,
        )


class TextTarget(BaseTarget):  # type: ignore[misc] # as above
    """Keep a short text field in memory."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._limit = _TEXT_LIMITS.get(name, _TEXT_LIMIT)
        self._value: bytearray | None = None

    def on_start(self) -> None:
        """Begin; a second part of the same name, or a file, is refused."""
        if self._value is not None:
            raise _twice(self._name)
        if self.multipart_filename is not None:
            message = f"'{self._name}' must be text, not a file; send the value itself"
            raise UploadError(message, param=self._name)
        self._value = bytearray()

    def on_data_received(self, chunk: bytes) -> None:
        """Keep a chunk.

        Raises:
            UploadError: The text is longer than the limit.
        """
        assert self._value is not None
        self._value += chunk
        if len(self._value) > self._limit:
            message = f"'{self._name}' is longer than {self._limit} bytes"
            raise UploadError(message, param=self._name, limit=self._limit)

    @property
    def result(self) -> str | None:
        """The text, or None if it never came.

        Raises:
            UploadError: It is not text.
        """
        if self._value is None:
            return None
        try:
            text = self._value.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"'{self._name}' is not UTF-8 text"
            raise UploadError(message, param=self._name) from error
        if any(char < " " and char not in "\t\r\n" for char in text):
            message = f"'{self._name}' contains control characters"
            raise UploadError(message, param=self._name)
        return text


def model_too_large(limit: int, actual: int | None) -> UploadError:
    """The error for a model over the limit of one upload, in bytes."""
    message = f"the model is larger than the limit of {limit} bytes (SECATEUR_INLINE_LIMIT)"
    return UploadError(
        message, code="model-too-large", param=FILE_FIELD, limit=limit, actual=actual
    )


def _twice(name: str) -> UploadError:
    return UploadError(f"the field '{name}' comes twice; send it once", param=name)
