"""Streamed forms: every way in which one can be wrong, and that no file is left behind."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from service.form_parts import ReceivedForm, UploadError
from service.uploads import FORM_OVERHEAD_BYTES, received_form

LIMIT = 1000
FIELDS = ("dataset", "target_macs", "epochs", "job")


def part(name: str, value: bytes | str, *, filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    content = value.encode() if isinstance(value, str) else value
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


def request_of(
    content: bytes,
    *,
    chunk: int = 64,
    content_type: str = "multipart/form-data; boundary=B",
    length: int | None = None,
    leave: bool = False,
) -> Request:
    chunks: Iterator[bytes] = iter([content[i : i + chunk] for i in range(0, len(content), chunk)])

    async def receive() -> dict[str, Any]:
        piece = next(chunks, None)
        if piece is None and leave:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    headers = [(b"content-type", content_type.encode("latin-1"))]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def read(path: Path, request: Request, *, limit: int = LIMIT) -> ReceivedForm:
    async def run() -> ReceivedForm:
        async with received_form(request, path, limit=limit, text_fields=FIELDS) as form:
            if form.file is not None:
                assert path.read_bytes()[:4096] == form.file.first_bytes
            return form

    try:
        return asyncio.run(run())
    finally:
        assert not path.exists()


def refused(path: Path, content: bytes, **more: Any) -> UploadError:
    with pytest.raises(UploadError) as caught:
        read(path, request_of(content, **more))
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "incoming.part"


@pytest.mark.parametrize("chunk", [1, 7, 64, 100_000])
def test_a_form_is_read_whatever_the_chunks(path: Path, chunk: int) -> None:
    content = bytes(range(256)) * 3 + b"\r\n--Bx\r\n--"  # looks almost like a boundary
    whole = body(
        part("dataset", "https://host/ä.npz"),
        part("model", content, filename="net.onnx"),
        part("target_macs", "0.5"),
    )
    form = read(path, request_of(whole, chunk=chunk))
    assert form.texts == {"dataset": "https://host/ä.npz", "target_macs": "0.5"}
    assert form.file is not None
    assert form.file.name == "net.onnx"
    assert form.file.size == len(content)
    assert form.file.sha256 == hashlib.sha256(content).hexdigest()
    assert form.file.first_bytes == content


def test_the_file_may_be_missing_or_empty(path: Path) -> None:
    assert read(path, request_of(body(part("dataset", "x")))).file is None
    form = read(path, request_of(body(part("model", b"", filename=""))))
    assert form.file is not None
    assert (form.file.size, form.file.name) == (0, "model.onnx")


def test_a_curl_file_field_with_several_slashes_loses_its_folders(path: Path) -> None:
    form = read(path, request_of(body(part("model", b"x", filename="../../etc/passwd"))))
    assert form.file is not None
    assert form.file.name == "passwd"


def test_unknown_fields_are_refused_with_the_closest_known_one(path: Path) -> None:
    error = refused(path, body(part("model", b"x", filename="m"), part("epoch", "3")))
    assert error.code == "invalid-request"
    assert error.param == "epoch"
    assert "did you mean 'epochs'?" in str(error)
    assert "known: dataset" in str(refused(path, body(part("zzz", "3"))))


@pytest.mark.parametrize("name", ["model", "dataset"])
def test_a_field_that_comes_twice_is_refused(path: Path, name: str) -> None:
    error = refused(path, body(part(name, "a"), part(name, "b")))
    assert error.param == name
    assert "twice" in str(error)


def test_a_file_where_text_belongs_is_refused(path: Path) -> None:
    error = refused(path, body(part("dataset", "a", filename="digits.npz")))
    assert "not a file" in str(error)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a\x00b", b"a\x1bb"])
def test_texts_must_be_text(path: Path, value: bytes) -> None:
    assert refused(path, body(part("dataset", value))).param == "dataset"


def test_long_texts_are_refused(path: Path) -> None:
    error = refused(path, body(part("epochs", "1" * 5000)), chunk=1000)
    assert error.limit == 4096


def test_a_file_over_the_limit_is_refused_without_a_declared_length(path: Path) -> None:
    error = refused(path, body(part("model", b"x" * (LIMIT + 1), filename="m")))
    assert (error.code, error.limit, error.param) == ("model-too-large", LIMIT, "model")


def test_a_declared_length_over_the_limit_is_refused_before_reading(path: Path) -> None:
    length = LIMIT + FORM_OVERHEAD_BYTES + 1
    error = refused(path, b"not even a form", length=length)
    assert (error.code, error.actual) == ("model-too-large", length)


def test_endless_part_headers_are_refused(path: Path) -> None:
    endless = b"--B\r\nX-Pad: " + b"a" * (FORM_OVERHEAD_BYTES + 200_000)
    assert refused(path, endless, chunk=50_000).code == "body-too-large"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        part("dataset", "x"),
        part("dataset", "x") + b"--B\r\n",
        b'--B\nContent-Disposition: form-data; name="dataset"\n\nx\n--B--\n',
    ],
)
def test_a_form_without_its_end_is_incomplete(path: Path, content: bytes) -> None:
    assert refused(path, content).code == "body-incomplete"


@pytest.mark.parametrize(
    "content",
    [
        b"garbage instead of a form",
        body(part("dataset", "x")).replace(b"form-data", b"attachment"),
        body(part("dataset", "x")).replace(b'name="dataset"', b'name="\xff"'),
    ],
)
def test_malformed_bodies_are_bad_requests(path: Path, content: bytes) -> None:
    assert refused(path, content).code == "bad-request"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'a' * 300}",
    ],
)
def test_a_boundary_is_needed(path: Path, content_type: str) -> None:
    assert refused(path, b"", content_type=content_type).code == "bad-request"


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/mixed; boundary=B"])
def test_other_media_types_are_refused(path: Path, content_type: str) -> None:
    error = refused(path, b"", content_type=content_type)
    assert error.code == "unsupported-media-type"
    assert "curl -F" in str(error)


def test_a_client_that_leaves_leaves_no_file(path: Path) -> None:
    with pytest.raises(ClientDisconnect):
        read(path, request_of(part("model", b"x" * 500, filename="m"), leave=True))


def test_a_failure_of_the_reader_of_the_form_leaves_no_file(path: Path) -> None:
    async def run() -> None:
        request = request_of(body(part("model", b"x", filename="m")))
        async with received_form(request, path, limit=LIMIT, text_fields=FIELDS):
            assert path.exists()
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(run())
    assert not path.exists()


def test_an_existing_file_is_never_written_over(path: Path, tmp_path: Path) -> None:
    async def run() -> AsyncIterator[None]:
        request = request_of(body(part("model", b"x", filename="m")))
        async with received_form(request, path, limit=LIMIT, text_fields=FIELDS):
            yield

    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path.symlink_to(secret)

    async def drain() -> None:
        async for _ in run():
            pass

    with pytest.raises(OSError, match="exists"):
        asyncio.run(drain())
    assert secret.read_bytes() == b"secret"
