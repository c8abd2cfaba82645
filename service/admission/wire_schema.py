"""Which field of which ONNX message holds what, taken from the format's own descriptors.

Only field numbers and kinds; the scan itself is in ``wire_scan``.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIRE_OF_TYPE = {1: FIXED64, 6: FIXED64, 16: FIXED64, 2: FIXED32, 7: FIXED32, 15: FIXED32}
_TYPE_STRING, _TYPE_MESSAGE, _TYPE_BYTES = 9, 11, 12
_SIZE_OF_WIRE = {VARINT: 1, FIXED64: 8, FIXED32: 4}


@dataclass(frozen=True)
class FieldKind:
    """One field of a message.

    Attributes:
        wire: Wire type of one value.
        message: Name of the message type if the field holds messages.
        may_be_packed: Whether several values may come as one length-delimited block.
        element_bytes: Bytes of one value in such a block; 1 if they vary.
        is_text: Whether the value must be UTF-8.
    """

    wire: int
    message: str | None
    may_be_packed: bool
    element_bytes: int
    is_text: bool = False


Schema = dict[str, dict[int, FieldKind]]


@cache
def schema() -> Schema:
    """All message types reachable from ModelProto: name -> field number -> kind."""
    found: Schema = {}
    waiting: list[Any] = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.name in found:
            continue
        found[descriptor.name] = {field.number: _kind(field) for field in descriptor.fields}
        waiting += [field.message_type for field in descriptor.fields if field.message_type]
    return found


def _kind(field: Any) -> FieldKind:
    if field.type == _TYPE_MESSAGE:
        return FieldKind(LENGTH, field.message_type.name, may_be_packed=False, element_bytes=0)
    if field.type in (_TYPE_STRING, _TYPE_BYTES):
        is_text = field.type == _TYPE_STRING
        return FieldKind(LENGTH, None, may_be_packed=False, element_bytes=0, is_text=is_text)
    wire = _WIRE_OF_TYPE.get(field.type, VARINT)
    return FieldKind(wire, None, field.is_repeated, _SIZE_OF_WIRE[wire])
