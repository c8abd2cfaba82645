"""Multipart forms, streamed: the model goes to a temporary file, everything else is short text.

The file is hashed and counted on the way, in the file system of the artifact store, so that storing
it later is a rename. What the fields mean is not known here; the caller names those that may come.
"""

import difflib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request
from streaming_form_data import StreamingFormDataParser
from streaming_form_data.parser import (
    ParseFailedException,
    UnexpectedPartException,
    parse_content_boundary,
)

from service.form_parts import (
    FILE_FIELD,
    FileTarget,
    ReceivedForm,
    TextTarget,
    UploadError,
    model_too_large,
)

FORM_OVERHEAD_BYTES = 1024 * 1024  # boundaries, part headers and text fields together
_BOUNDARY_LIMIT = 200


class _Form:
    """The parser with its targets; fed chunk by chunk in a worker thread."""

    def __init__(
        self, content_type: str, path: Path, *, limit: int, text_fields: Collection[str]
    ) -> None:
        self._limit = limit
        self._received = 0
        self._texts = {name: TextTarget(name) for name in text_fields}
        self._file = FileTarget(path, limit)
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
        if self._received - self._file.size > FORM_OVERHEAD_BYTES + len(chunk):
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


def _check_declared_length(request: Request, limit: int) -> None:
    """Refuse at once what cannot fit, before the first byte is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit + FORM_OVERHEAD_BYTES:
        raise model_too_large(limit, int(declared))
