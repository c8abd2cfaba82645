"""Reads an NPZ file (a zip of arrays) under limits: counts and sizes first, then the bytes.

The number of entries is read before the list of entries, an array's description before the array,
and what is unpacked is counted while it comes: none of the declared sizes is believed.
"""

import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from service.datasets.npy_header import MAGIC, ArrayHeader, read_header
from service.datasets.policy import DatasetLimits
from service.errors import DatasetError

_END_RECORD = b"PK\x05\x06"
_END_RECORD_BYTES = 22
_LONGEST_COMMENT = 65_535
_LONGEST_ENTRY_BYTES = 4096  # of an honest entry in the list; names are short
_CHUNK_BYTES = 1024 * 1024
_ENCRYPTED = 0x1
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError,
    ValueError, OSError, OverflowError,
)  # fmt: skip
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x80\x02", "dataset-pickle", "is a Python pickle, which is never read"),
    (b"\x80\x03", "dataset-pickle", "is a Python pickle, which is never read"),
    (b"\x80\x04", "dataset-pickle", "is a Python pickle, which is never read"),
    (b"\x80\x05", "dataset-pickle", "is a Python pickle, which is never read"),
    (MAGIC, "dataset-format", "is a single array (.npy)"),
    (b"\x1f\x8b", "dataset-format", "is a gzip archive"),
    (b"\x89HDF", "dataset-format", "is an HDF5 file"),
    (b"PAR1", "dataset-format", "is a Parquet file"),
)
_ADVICE = "save the arrays x_train, y_train, ... with numpy.savez"


def has_end_record(path: Path) -> bool:
    """Whether a file ends as a zip file must: then nothing is missing at its end."""
    with path.open("rb") as file:
        return _count_entries(file) is not None


def read_npz(path: Path, limits: DatasetLimits) -> dict[str, np.ndarray]:
    """Read all arrays of an NPZ file.

    Args:
        path: A local file of our own.
        limits: Counts and sizes.

    Returns:
        Arrays by name, in native byte order.

    Raises:
        DatasetError: ``dataset-format``, ``-truncated``, ``-pickle``, ``-dtype``,
            ``-archive-limit`` or ``-decompression-limit``.
    """
    with path.open("rb") as file:
        _check_kind(file.read(512))
        count = _count_entries(file)
        if count is None:
            message = "the data set ends early: the zip file lacks its end; copy it again"
            raise DatasetError(message, code="dataset-truncated", param="dataset")
        if count > limits.arrays:
            message = f"the data set has {count} arrays, more than the limit of {limits.arrays}"
            raise DatasetError(
                message, code="dataset-archive-limit", limit=limits.arrays, actual=count
            )
        file.seek(0)
        try:
            return _read_archive(file, limits)
        except _BROKEN as error:
            message = f"the data set is a damaged zip file; {_ADVICE} again"
            raise DatasetError(message, code="dataset-format", param="dataset") from error


def _check_kind(start: bytes) -> None:
    """Refuse by content what is not a zip file."""
    if start.startswith(b"PK"):
        return
    if not start:
        message = f"the data set is an empty file; {_ADVICE}"
        raise DatasetError(message, code="dataset-format", param="dataset")
    for mark, code, what in _KINDS:
        if start.startswith(mark):
            message = f"the data set {what}; {_ADVICE}"
            raise DatasetError(message, code=code, param="dataset")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    is_page = text.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
    what = "looks like an HTML page (a login page?)" if is_page else "is not an NPZ file"
    message = f"the data set {what}; {_ADVICE}"
    raise DatasetError(message, code="dataset-format", param="dataset")


def _count_entries(file: BinaryIO) -> int | None:
    """The number of entries by the end record; None if there is no such record at the end.

    The declared number may lie, so the size of the list of entries is taken into account.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_COMMENT - _END_RECORD_BYTES))
    tail = file.read()
    at = tail.rfind(_END_RECORD)
    while at >= 0:
        comment = int.from_bytes(tail[at + 20 : at + 22], "little")
        if at + _END_RECORD_BYTES + comment == len(tail):
            list_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
            declared = int.from_bytes(tail[at + 10 : at + 12], "little")
            return max(declared, list_bytes // _LONGEST_ENTRY_BYTES)
        at = tail.rfind(_END_RECORD, 0, at)
    return None


def _read_archive(file: BinaryIO, limits: DatasetLimits) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    remaining, size = limits.unpacked_bytes, os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename or name in arrays or not name.isprintable():
                raise zipfile.BadZipFile
            if entry.flag_bits & _ENCRYPTED or entry.compress_size > size:
                raise zipfile.BadZipFile
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile
            with archive.open(entry) as stream:
                header = read_header(stream, name[:80], limit=limits.header_bytes)  # type: ignore[arg-type]
                _check_size(header, entry, name[:80], remaining, limits)
                arrays[name] = _read_array(stream, header)
            remaining -= header.data_bytes
    return arrays


def _check_size(
    header: ArrayHeader,
    entry: zipfile.ZipInfo,
    name: str,
    remaining: int,
    limits: DatasetLimits,
) -> None:
    """Hold the described size against the limits and against what the zip file declares."""
    size = header.data_bytes
    is_bomb = size > limits.small_bytes and size > limits.ratio * max(entry.compress_size, 1)
    if header.data_offset + size != entry.file_size:
        message = (
            f"array '{name}' of shape {list(header.shape)} needs {size} bytes, but the file holds "
            f"{max(entry.file_size - header.data_offset, 0)}; {_ADVICE} again"
        )
        raise DatasetError(message, code="dataset-format", param=name, limit=size)
    if size > remaining or is_bomb:
        message = (
            f"array '{name}' unpacks to {size} bytes from {entry.compress_size}, which is more "
            "than allowed; use fewer samples, or store the data less compressed"
        )
        raise DatasetError(
            message, code="dataset-decompression-limit", param=name,
            limit=limits.unpacked_bytes, actual=size,
        )  # fmt: skip


def _read_array(stream: IO[Any], header: ArrayHeader) -> np.ndarray:
    """The array behind ``header``; exactly its bytes, and the checksum must fit."""
    values = np.empty(header.data_bytes, np.uint8)
    view, at = values.data, 0
    while at < len(values):
        chunk = stream.read(min(_CHUNK_BYTES, len(values) - at))
        if not chunk:
            raise EOFError
        view[at : at + len(chunk)] = chunk
        at += len(chunk)
    if stream.read(1):  # this read also makes zipfile compare the checksum
        raise zipfile.BadZipFile
    elements = values.view(header.dtype).astype(header.dtype.newbyteorder("="), copy=False)
    if header.is_fortran:
        return elements.reshape(header.shape[::-1]).transpose()
    return elements.reshape(header.shape)
