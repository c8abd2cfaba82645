"""Where the hostile files register, and the pieces they are built from."""

from collections.abc import Callable

import onnx
from onnx import helper

from tests.unit.service.admission import models as m

Maker = Callable[[], "bytes | onnx.ModelProto"]
CASES: dict[str, tuple[str, Maker]] = {}


def build(name: str) -> bytes:
    """The bytes of a case."""
    made = CASES[name][1]()
    return made if isinstance(made, bytes) else made.SerializeToString()


def case(code: str) -> Callable[[Maker], Maker]:
    """Register a maker under its own name, with the code that it must be refused with."""

    def register(maker: Maker) -> Maker:
        add(code, maker.__name__.strip("_"), maker)
        return maker

    return register


def add(code: str, name: str, maker: Maker) -> None:
    assert name not in CASES
    CASES[name] = (code, maker)


def edited(edit: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    """The sound classifier, spoilt."""
    model = m.classifier()
    edit(model)
    return model


def relu(source: str, target: str, name: str = "n") -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [target], name=name)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])
