"""What a file is by its first bytes, checked in the web process before anything is stored.

Looks at bytes only and decodes nothing. A file that passes may still be anything: the wire scan in
the sandboxed child decides. The texts name what was uploaded and how to get an ONNX file from it.
"""

from typing import NoReturn

from service.admission.refusal import refuse

_PROTOBUF_LIMIT = 2 * 1024**3
_KINDS: tuple[tuple[int, bytes, str], ...] = (
    (
        0,
        b"PK\x03\x04",
        "a zip archive (or a .pt file); unpack it, or export with torch.onnx.export",
    ),
    (0, b"PK\x05\x06", "an empty zip archive; upload the .onnx file itself"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it and upload the .onnx file"),
    (0, b"BZh", "a bzip2 archive; unpack it and upload the .onnx file"),
    (0, b"\xfd7zXZ\x00", "an xz archive; unpack it and upload the .onnx file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-zip archive; unpack it and upload the .onnx file"),
    (0, b"Rar!", "a rar archive; unpack it and upload the .onnx file"),
    (257, b"ustar", "a tar archive; unpack it and upload the .onnx file"),
    (0, b"\x80\x02", "a Python pickle (an old .pt file?); export with torch.onnx.export"),
    (0, b"\x80\x03", "a Python pickle; export with torch.onnx.export"),
    (0, b"\x80\x04", "a Python pickle; export with torch.onnx.export"),
    (0, b"\x80\x05", "a Python pickle; export with torch.onnx.export"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (a Keras model?); convert it with tf2onnx"),
    (4, b"ORTM", "an ONNX Runtime .ort file; upload the .onnx file that it was made from"),
    (4, b"TFL3", "a TensorFlow Lite file; convert it with tf2onnx --tflite"),
    (0, b"\x93NUMPY", "a numpy array; upload the model here and the data as the data set"),
    (0, b"\x89PNG", "an image; upload the .onnx file"),
    (0, b"\xff\xd8\xff", "an image; upload the .onnx file"),
    (0, b"%PDF", "a PDF document; upload the .onnx file"),
    (0, b"\x7fELF", "a program; upload the .onnx file"),
    (0, b"version https://git-lfs", "a Git LFS pointer; fetch the file with git lfs pull"),
)
_HTML_MARKS = (b"<!doctype html", b"<html", b"<head", b"<body")
_TEXT_BYTES = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\n\r\f")


def check_magic(first_bytes: bytes, size: int, *, limit: int | None = None) -> None:
    """Refuse what is obviously not an ONNX model.

    Args:
        first_bytes: The beginning of the file, 512 bytes or more where the file has them.
        size: Size of the whole file in bytes.
        limit: Most bytes of a model; only the 2 GiB of protobuf itself if None.

    Raises:
        AdmissionError: ``model-empty``, ``model-too-large`` or ``model-not-onnx``.
    """
    if size == 0:
        refuse("model-empty", "the file is empty; export the model again and upload it")
    if limit is not None and size > limit:
        message = f"the model has {size} bytes, more than the limit of {limit}"
        refuse("model-too-large", message, limit=limit, actual=size)
    if size >= _PROTOBUF_LIMIT:
        message = f"the model has {size} bytes, but one ONNX file holds less than 2 GiB of weights"
        refuse("model-too-large", message, limit=_PROTOBUF_LIMIT - 1, actual=size)
    for offset, mark, advice in _KINDS:
        if first_bytes.startswith(mark, offset):
            _not_onnx(advice)
    _check_soft_marks(first_bytes)


def _check_soft_marks(first_bytes: bytes) -> None:
    """Formats without a fixed mark: safetensors, web pages, text, zeros."""
    if first_bytes[8:10] in (b'{"', b"{ ") and b"{" not in first_bytes[:8]:
        _not_onnx("a safetensors file; it has no graph, so export the model to ONNX")
    start = first_bytes.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if start.startswith(_HTML_MARKS):
        _not_onnx("a web page (a login or error page?); download the model itself")
    if not first_bytes.strip(b"\x00"):
        _not_onnx("all zeros; copy the file again")
    if len(first_bytes) >= 2 and _TEXT_BYTES.issuperset(first_bytes[:512]):
        _not_onnx("a text file; export the model to ONNX and upload the .onnx file")


def _not_onnx(advice: str) -> NoReturn:
    refuse("model-not-onnx", f"this is not an ONNX model but {advice}")
