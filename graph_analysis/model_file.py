"""Reads an ONNX file weight by weight, so that its bytes are never in memory beside the model.

Protobuf parses a message from one string of bytes, which takes the file twice. Here the two outer
messages (ModelProto and its GraphProto) are walked field by field; each initializer is parsed for
itself, and everything else together at the end. What does not look like the wire format is left to
the caller, who can parse the file whole and report what is wrong with it.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO

import onnx

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes


class WireError(ValueError):
    """The bytes are not a message in the wire format of protobuf, or one of another form."""


class _Reader:
    """A file read from the front, each byte once and counted into a digest."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self.place = 0
        self.digest = hashlib.sha256()

    def take(self, count: int) -> bytes:
        if count > self._left:
            message = f"{count} bytes are announced, {self._left} are left"
            raise WireError(message)
        data = self._file.read(count)
        if len(data) != count:
            message = "the file became shorter while it was read"
            raise WireError(message)
        self._left -= count
        self.place += count
        self.digest.update(data)
        return data

    def varint(self) -> tuple[int, bytes]:
        """A number and the bytes that it is written in."""
        raw = b""
        while len(raw) < _LONGEST_VARINT:
            raw += self.take(1)
            if raw[-1] < 0x80:
                value = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(raw))
                return value, raw
        message = "a number has no end"
        raise WireError(message)

    def value(self, wire_type: int) -> bytes:
        """The bytes of a field behind its tag."""
        if wire_type == _VARINT:
            return self.varint()[1]
        if wire_type == _FIXED64:
            return self.take(8)
        if wire_type == _FIXED32:
            return self.take(4)
        if wire_type != _DELIMITED:
            message = f"wire type {wire_type} is not used by ONNX"
            raise WireError(message)
        length, raw = self.varint()
        return raw + self.take(length)


def read_model(path: Path) -> tuple[onnx.ModelProto, "hashlib._Hash"]:
    """The model in a file, and the SHA-256 of the file.

    Raises:
        OSError: The file cannot be read.
        WireError: It is no ONNX file, or one in an unusual form; ``DecodeError`` alike.
    """
    model = onnx.ModelProto()
    rest = bytearray()
    with path.open("rb") as file:
        size = path.stat().st_size
        reader = _Reader(file, size)
        while reader.place < size:
            tag, raw = reader.varint()
            if tag == (_GRAPH << 3 | _DELIMITED):
                length, _ = reader.varint()
                _read_graph(reader, length, model.graph)
            else:
                rest += raw + reader.value(tag & 7)
    model.MergeFromString(bytes(rest))
    return model, reader.digest


def _read_graph(reader: _Reader, length: int, graph: onnx.GraphProto) -> None:
    end = reader.place + length
    rest = bytearray()
    while reader.place < end:
        tag, raw = reader.varint()
        if tag == (_INITIALIZER << 3 | _DELIMITED):
            size, _ = reader.varint()
            graph.initializer.add().MergeFromString(reader.take(size))
        else:
            rest += raw + reader.value(tag & 7)
    if reader.place != end:
        message = "a field is longer than the message that it lies in"
        raise WireError(message)
    graph.MergeFromString(bytes(rest))
