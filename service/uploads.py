"""Multipart forms, streamed: the model goes to a temporary file, everything else is short text.

The file is hashed and counted on the way, in the file system of the artifact store, so that storing
it later is a rename. What the fields mean is not known here; the caller names those that may come.
"""

import difflib
import hashlib
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread
from starlette.requests import Request
from streaming_form_data import StreamingFormDataParser
from streaming_form_data.parser import (
    ParseFailedException,
    UnexpectedPartException,
    parse_content_boundary,
)
from streaming_form_data.targets import BaseTarget

from graph_analysis.errors import InputError

FILE_FIELD = "model"
FIRST_BYTES = 4096  # kept in memory for the check of magic bytes
FORM_OVERHEAD_BYTES = 1024 * 1024  # boundaries, part headers and text fields together
_TEXT_LIMITS = {"job": 256 * 1024, "dataset": 8 * 1024, "metadata": 16 * 1024}
_TEXT_LIMIT = 4 * 1024
_BOUNDARY_LIMIT = 200


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
        bytes: Size.
        first_bytes: The beginning of the file.
    """

    path: Path
    name: str
    sha256: str
    bytes: int
    first_bytes: bytes


@dataclass(frozen=True, kw_only=True)
class ReceivedForm:
    """All parts of one form; text fields by name, in the order of arrival."""

    file: UploadedFile | None
    texts: dict[str, str]


class _FileTarget(BaseTarget):  # type: ignore[misc] # the library has no type hints
    """Write, count and hash the file part."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__()
        self._path = path
        self._limit = limit
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None
        self.bytes = 0
        self.first_bytes = b""

    def on_start(self) -> None:
        if self._file is not None:
            raise _twice(FILE_FIELD)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb")

    def on_data_received(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        if self.bytes > self._limit:
            raise model_too_large(self._limit, None)
        if len(self.first_bytes) < FIRST_BYTES:
            self.first_bytes += chunk[: FIRST_BYTES - len(self.first_bytes)]
        self._digest.update(chunk)
        assert self._file is not None
        self._file.write(chunk)

    def on_finish(self) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None and not self._file.closed:
            self._file.close()

    @property
    def result(self) -> UploadedFile | None:
        if self._file is None:
            return None
        name = (self.multipart_filename or "").replace("\\", "/").rsplit("/", 1)[-1]
        return UploadedFile(
            path=self._path,
            name=name[:200] or "model.onnx",
            sha256=self._digest.hexdigest(),
            bytes=self.bytes,
            first_bytes=self.first_bytes,
        )


class _TextTarget(BaseTarget):  # type: ignore[misc] # as above
    """Keep a short text field in memory."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._limit = _TEXT_LIMITS.get(name, _TEXT_LIMIT)
        self._value: bytearray | None = None

    def on_start(self) -> None:
        if self._value is not None:
            raise _twice(self._name)
        if self.multipart_filename is not None:
            message = f"'{self._name}' must be text, not a file; send the value itself"
            raise UploadError(message, param=self._name)
        self._value = bytearray()

    def on_data_received(self, chunk: bytes) -> None:
        assert self._value is not None
        self._value += chunk
        if len(self._value) > self._limit:
            message = f"'{self._name}' is longer than {self._limit} bytes"
            raise UploadError(message, param=self._name, limit=self._limit)

    @property
    def result(self) -> str | None:
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


class _Form:
    """The parser with its targets; fed chunk by chunk in a worker thread."""

    def __init__(
        self, content_type: str, path: Path, *, limit: int, text_fields: Collection[str]
    ) -> None:
        self._limit = limit
        self._received = 0
        self._texts = {name: _TextTarget(name) for name in text_fields}
        self._file = _FileTarget(path, limit)
        headers = {"Content-Type": content_type}
        try:
            self._end = _EndMark(parse_content_boundary(headers))
            self._parser = StreamingFormDataParser(headers, strict=True)
        except (ParseFailedException, ValueError) as error:
            message = "the Content-Type of the form has no usable boundary"
            raise UploadError(message, code="bad-request") from error
        self._parser.register(FILE_FIELD, self._file)
        for name, target in self._texts.items():
            self._parser.register(name, target)

    def feed(self, chunk: bytes) -> None:
        """Parse one chunk.

        Raises:
            UploadError: The form is malformed, has an unknown field, or is too large.
        """
        self._received += len(chunk)
        self._end.feed(chunk)
        try:
            self._parser.data_received(chunk)
        except UnexpectedPartException as error:
            raise self._unknown(error.part_name) from error
        except (ParseFailedException, UnicodeDecodeError) as error:
            message = "the body is not a well-formed multipart/form-data document"
            raise UploadError(message, code="bad-request") from error
        if self._received - self._file.bytes > FORM_OVERHEAD_BYTES + len(chunk):
            message = f"the form has more than {FORM_OVERHEAD_BYTES} bytes besides the model"
            raise UploadError(message, code="body-too-large", limit=FORM_OVERHEAD_BYTES)

    def finish(self) -> ReceivedForm:
        """All parts, once the last byte has come.

        Raises:
            UploadError: The form ended early, or a text cannot be read.
        """
        if not self._end.seen:
            message = "the form ends before its closing boundary; send it again"
            raise UploadError(message, code="body-incomplete")
        texts = {name: target.result for name, target in self._texts.items()}
        return ReceivedForm(
            file=self._file.result,
            texts={name: text for name, text in texts.items() if text is not None},
        )

    def close(self) -> None:
        """Close the file; harmless if there is none."""
        self._file.close()

    def _unknown(self, name: str) -> UploadError:
        known = (FILE_FIELD, *self._texts)
        return unknown_field(name, known)


class _EndMark:
    """Whether the closing boundary has come; the parser itself does not tell."""

    def __init__(self, boundary: bytes) -> None:
        if len(boundary) > _BOUNDARY_LIMIT:
            message = f"the boundary must have at most {_BOUNDARY_LIMIT} characters"
            raise ValueError(message)
        self._mark = b"\r\n--" + boundary + b"--"
        self._tail = b"\r\n"  # the first boundary of a body has no line before it
        self.seen = False

    def feed(self, chunk: bytes) -> None:
        if not self.seen:
            window = self._tail + chunk
            self.seen = self._mark in window
            self._tail = window[1 - len(self._mark) :]


@asynccontextmanager
async def received_form(
    request: Request, path: Path, *, limit: int, text_fields: Collection[str]
) -> AsyncIterator[ReceivedForm]:
    """Read the form of ``request``; the file at ``path`` is gone when the block is left.

    Args:
        request: A request whose body has not been read.
        path: Where the file part is written; must not exist.
        limit: Most bytes of the file.
        text_fields: Names of the text fields that may come.

    Raises:
        UploadError: The form is malformed, incomplete or too large, or has unknown fields.
        ClientDisconnect: The client left.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.split(";")[0].strip().lower() != "multipart/form-data":
        message = "send multipart/form-data with the file in the field 'model', as curl -F does"
        raise UploadError(message, code="unsupported-media-type")
    _check_declared_length(request, limit)
    form = _Form(content_type, path, limit=limit, text_fields=text_fields)
    try:
        async for chunk in request.stream():
            await to_thread.run_sync(form.feed, chunk)
        yield await to_thread.run_sync(form.finish)
    finally:
        form.close()
        path.unlink(missing_ok=True)


def unknown_field(name: str, known: Collection[str]) -> UploadError:
    """The error for a field that nobody knows, with the closest known one."""
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"
    return UploadError(f"unknown field '{name[:80]}'; {hint}", param=name[:80])


def model_too_large(limit: int, actual: int | None) -> UploadError:
    """The error for a model over the limit of one upload, in bytes."""
    message = f"the model is larger than the limit of {limit} bytes (SECATEUR_INLINE_LIMIT)"
    return UploadError(message, code="model-too-large", param=FILE_FIELD, limit=limit, actual=actual)


def _check_declared_length(request: Request, limit: int) -> None:
    """Refuse at once what cannot fit, before the first byte is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit + FORM_OVERHEAD_BYTES:
        raise model_too_large(limit, int(declared))


def _twice(name: str) -> UploadError:
    return UploadError(f"the field '{name}' comes twice; send it once", param=name)

