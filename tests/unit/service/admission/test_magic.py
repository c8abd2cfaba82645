"""What the first bytes tell, in words that help."""

import pytest

from service.admission import check_magic
from service.errors import AdmissionError
from tests.unit.service.admission.models import classifier


@pytest.mark.parametrize(
    ("first_bytes", "words"),
    [
        (b"PK\x03\x04" + bytes(30), "a zip archive"),
        (b"\x80\x02}q\x00", "a Python pickle"),
        (b"\x89HDF\r\n\x1a\n", "tf2onnx"),
        (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        (b"\x1c\x00\x00\x00ORTM", "ONNX Runtime .ort"),
        (bytes(257) + b"ustar\x00", "a tar archive"),
        (b"\xef\xbb\xbf\n<HTML><head>", "a web page"),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"w":{"dtype"', "a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"weights: 3\n", "a text file"),
        (bytes(100), "all zeros"),
    ],
)
def test_names_what_it_is(first_bytes: bytes, words: str) -> None:
    with pytest.raises(AdmissionError, match=words) as caught:
        check_magic(first_bytes, 1000)
    assert caught.value.code == "model-not-onnx"


def test_sound_models_pass() -> None:
    data = classifier().SerializeToString()
    check_magic(data[:4096], len(data))
    check_magic(data[:4096], len(data), limit=len(data))


def test_sizes() -> None:
    with pytest.raises(AdmissionError) as caught:
        check_magic(b"", 0)
    assert caught.value.code == "model-empty"
    with pytest.raises(AdmissionError) as caught:
        check_magic(b"\x08\x0a", 11, limit=10)
    assert (caught.value.code, caught.value.limit, caught.value.actual) == (
        "model-too-large", 10, 11,
    )  # fmt: skip
    with pytest.raises(AdmissionError, match="2 GiB"):
        check_magic(b"\x08\x0a", 2**31)
