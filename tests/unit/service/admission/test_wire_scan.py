"""The walk over raw bytes: lets sound files through, and tells cut files from foreign ones."""

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import AdmissionLimits
from service.admission.wire_scan import scan_wire
from service.admission.wire_schema import schema
from service.errors import AdmissionError
from tests.unit.service.admission.hostile.registry import field, varint
from tests.unit.service.admission.models import classifier

_LIMITS = AdmissionLimits()
_SOUND = classifier().SerializeToString()


def _code(data: bytes) -> str | None:
    try:
        scan_wire(data, _LIMITS)
    except AdmissionError as error:
        return error.code
    return None


def test_every_cut_is_called_truncated_or_ends_between_fields() -> None:
    codes = [_code(_SOUND[:size]) for size in range(2, len(_SOUND))]
    assert set(codes) <= {"model-truncated", None}
    assert codes.count(None) <= 4  # cuts that leave whole top-level fields: the rules see those


def test_the_schema_is_that_of_the_format() -> None:
    known = schema()
    assert known["ModelProto"][7].message == "GraphProto"
    assert known["GraphProto"][1].message == "NodeProto"
    assert known["TensorProto"][4].element_bytes == 4  # float_data
    assert known["TensorProto"][7].may_be_packed  # int64_data
    assert known["AttributeProto"][6].message == "GraphProto"  # bodies
    assert known["TensorProto"][9].message is None  # raw_data


def test_unknown_fields_are_skipped() -> None:
    extra = field(900, b"later") + varint(901 << 3) + b"\x05" + varint(902 << 3 | 5) + bytes(4)
    extra += varint(903 << 3 | 1) + bytes(8)
    assert _code(_SOUND + extra) is None


def test_packed_numbers_come_in_whole_elements() -> None:
    graph = field(5, field(4, bytes(8)))
    assert _code(b"\x08\x0a" + field(7, graph)) is None
    assert _code(b"\x08\x0a" + field(7, field(5, field(4, bytes(7))))) == "model-not-onnx"
    large = field(5, field(4, bytes(4 * 10**6)))
    assert _code(b"\x08\x0a" + field(7, large)) is None  # fixed size: does not grow when read


@given(st.binary(max_size=400))
def test_any_bytes_are_judged(data: bytes) -> None:
    assert _code(data) in {None, "model-not-onnx", "model-truncated", "model-sparse-tensor",
                           "model-unsupported-op", "model-too-deep", "model-bad-name"}  # fmt: skip


@given(st.integers(0, len(_SOUND) - 1), st.integers(0, 255))
def test_what_the_scan_accepts_the_parser_reads(at: int, byte: int) -> None:
    data = bytearray(_SOUND)
    data[at] = byte
    if _code(bytes(data)) is None:
        onnx.load_model_from_string(bytes(data))


def test_counts_are_limited() -> None:
    with pytest.raises(AdmissionError) as caught:
        scan_wire(_SOUND, AdmissionLimits(messages=3))
    assert (caught.value.code, caught.value.limit) == ("model-too-complex", 3)
