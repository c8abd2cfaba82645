"""A walk over the raw protobuf bytes before any parser allocates for them.

Two megabytes of the right bytes make a protobuf library build a gigabyte of objects. So messages
are counted, their depth and exact lengths checked, on the bytes alone; nothing is copied. Also
tells a file that ends early from one that never was ONNX: a cut-off copy begins like a model, and
its last top-level field reaches beyond the end of the file.
"""

from dataclasses import dataclass
from typing import NoReturn

from service.admission.limits import AdmissionLimits
from service.admission.refusal import refuse
from service.admission.wire_schema import FIXED32, FIXED64, LENGTH, VARINT, FieldKind, schema

_MAX_VARINT_BYTES = 10
_IR_VERSION_FIELD = 1
_PLAUSIBLE_IR_VERSIONS = range(1, 1000)
_FORBIDDEN = {
    "SparseTensorProto": (
        "model-sparse-tensor",
        "the model contains a sparse tensor; store its weights as dense tensors",
    ),
    "TrainingInfoProto": (
        "model-unsupported-op",
        "the file holds training information (training_info); export the model for inference",
    ),
}


class _MalformedError(Exception):
    """The bytes are not well-formed protobuf."""


class _EndsEarlyError(_MalformedError):
    """A field of the outermost message reaches beyond the end of the file."""


@dataclass
class _Tally:
    """What has been counted so far."""

    messages: int = 0
    fields: int = 0


def scan_wire(data: bytes, limits: AdmissionLimits) -> None:
    """Check the bytes of a ModelProto.

    Args:
        data: The whole file.
        limits: Counts and depths.

    Raises:
        AdmissionError: ``model-not-onnx``, ``model-truncated``, ``model-too-complex``,
            ``model-too-deep``, ``model-bad-name``, ``model-sparse-tensor`` or
            ``model-unsupported-op``.
    """
    begins_like_a_model = _begins_like_a_model(data)
    try:
        _walk(data, limits)
    except _EndsEarlyError:
        if begins_like_a_model:
            message = (
                f"the model file ends early, after {len(data)} bytes; compare its size with the "
                "original and upload the whole file"
            )
            refuse("model-truncated", message, actual=len(data))
        _not_onnx()
    except _MalformedError:
        _not_onnx()


def _not_onnx() -> NoReturn:
    message = "the file is not an ONNX model, or it is damaged; export the model again"
    refuse("model-not-onnx", message)


def _begins_like_a_model(data: bytes) -> bool:
    """Whether the first field is a plausible IR version, as every exporter writes it."""
    try:
        key, at = _varint(data, 0, len(data))
        version, _ = _varint(data, at, len(data))
    except _MalformedError:
        return False
    return key == _IR_VERSION_FIELD << 3 | VARINT and version in _PLAUSIBLE_IR_VERSIONS


def _walk(data: bytes, limits: AdmissionLimits) -> None:
    """Visit every field, iteratively: a stack of (end of message, its fields)."""
    messages = schema()
    tally = _Tally()
    stack = [(len(data), messages["ModelProto"])]
    at = 0
    while True:
        while at == stack[-1][0]:
            stack.pop()
            if not stack:
                return
        end, fields = stack[-1]
        kind, wire, at = _key(data, at, end, fields, is_top=len(stack) == 1)
        tally.fields += 1
        if tally.fields > limits.fields:
            _too_complex("fields", limits.fields)
        if wire != LENGTH:
            at = _skip_scalar(data, at, end, wire, is_top=len(stack) == 1)
            continue
        length, at = _varint(data, at, end, is_top=len(stack) == 1)
        if at + length > end:
            raise (_EndsEarlyError if len(stack) == 1 else _MalformedError)
        if kind is None or kind.message is None:
            _check_packed(kind, length, limits)
            if kind is not None and kind.is_text:
                _check_text(data[at : at + length])
            at += length
            continue
        _count_message(kind.message, tally, len(stack), limits)
        stack.append((at + length, messages[kind.message]))


def _key(
    data: bytes, at: int, end: int, fields: dict[int, FieldKind], *, is_top: bool
) -> tuple[FieldKind | None, int, int]:
    """Read a field's key: its kind (None if unknown), its wire type, and where its value starts."""
    key, at = _varint(data, at, end, is_top=is_top)
    number, wire = key >> 3, key & 7
    kind = fields.get(number)
    if number == 0 or wire not in (VARINT, FIXED64, LENGTH, FIXED32):
        raise _MalformedError
    if kind is not None and wire != kind.wire and not (wire == LENGTH and kind.may_be_packed):
        raise _MalformedError
    return kind, wire, at


def _skip_scalar(data: bytes, at: int, end: int, wire: int, *, is_top: bool) -> int:
    if wire == VARINT:
        return _varint(data, at, end, is_top=is_top)[1]
    at += 8 if wire == FIXED64 else 4
    if at > end:
        raise (_EndsEarlyError if is_top else _MalformedError)
    return at


def _varint(data: bytes, at: int, end: int, *, is_top: bool = False) -> tuple[int, int]:
    """A variable-length integer: its value and the position behind it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at >= end:
            raise (_EndsEarlyError if is_top else _MalformedError)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at
    raise _MalformedError


def _check_packed(kind: FieldKind | None, length: int, limits: AdmissionLimits) -> None:
    """Packed numbers: whole elements, and not too many of those that grow when they are read."""
    if kind is None or not kind.may_be_packed:
        return
    if length % kind.element_bytes:
        raise _MalformedError
    if kind.wire == VARINT and length > limits.packed_bytes:
        message = (
            f"a tensor stores {length} bytes as variable-length integers, more than the limit of "
            f"{limits.packed_bytes}; store it as raw_data"
        )
        refuse("model-too-complex", message, limit=limits.packed_bytes, actual=length)


def _check_text(text: bytes) -> None:
    """Parsers hand out broken UTF-8 as bytes, for which no later stage is made."""
    try:
        text.decode()
    except UnicodeDecodeError:
        refuse("model-bad-name", "a name in the file is not valid UTF-8; export the model again")


def _count_message(name: str, tally: _Tally, depth: int, limits: AdmissionLimits) -> None:
    if name in _FORBIDDEN:
        code, message = _FORBIDDEN[name]
        refuse(code, message)
    tally.messages += 1
    if tally.messages > limits.messages:
        _too_complex("messages", limits.messages)
    if depth >= limits.message_depth:
        message = (
            f"the model is nested more than {limits.message_depth} levels deep; flatten its "
            "If, Loop and Scan bodies"
        )
        refuse("model-too-deep", message, limit=limits.message_depth)


def _too_complex(what: str, limit: int) -> NoReturn:
    message = f"the file has more than {limit} {what} (nodes, tensors, attributes); simplify it"
    refuse("model-too-complex", message, limit=limit)
