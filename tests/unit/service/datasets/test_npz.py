"""Reading NPZ: what numpy writes comes back; bombs, lies and foreign files have their codes."""

import contextlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets import DatasetLimits
from service.datasets.npz import has_end_record, read_npz
from service.errors import DatasetError
from tests.unit.service.datasets.archives import archive, described, digits, npy, npz

_LIMITS = DatasetLimits()
_MEBIBYTE = 1024**2


def _read(data: bytes, tmp_path: Path, limits: DatasetLimits = _LIMITS) -> dict[str, np.ndarray]:
    path = tmp_path / "dataset.npz"
    path.write_bytes(data)
    return read_npz(path, limits)


def _code(data: bytes, tmp_path: Path, limits: DatasetLimits = _LIMITS) -> str:
    with pytest.raises(DatasetError) as caught:
        _read(data, tmp_path, limits)
    assert str(caught.value).isprintable()
    return caught.value.code


@pytest.mark.parametrize("compressed", [False, True])
def test_what_numpy_writes_comes_back(compressed: bool, tmp_path: Path) -> None:
    arrays = digits() | {
        "x_val": np.asfortranarray(np.arange(24, dtype=">i2").reshape(2, 3, 4)),
        "y_val": np.array([True, False]),
        "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "half": np.ones((2, 2), np.float16),
        "scalar": np.array(3.5),
        "nothing": np.zeros((0, 4)),
    }
    read = _read(npz(compressed=compressed, **arrays), tmp_path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype.newbyteorder("=")


def test_names_of_inputs_may_hold_anything_printable(tmp_path: Path) -> None:
    assert "x_train:/in.put:0" in _read(npz(**{"x_train:/in.put:0": np.ones(2)}), tmp_path)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "dataset-format", "empty"),
        (b"<!DOCTYPE html><html>login", "dataset-format", "HTML page"),
        (b"\n <html>", "dataset-format", "HTML page"),
        (b"\x80\x04\x95abc", "dataset-pickle", "pickle"),
        (b"\x93NUMPY\x01\x00", "dataset-format", "single array"),
        (b"\x1f\x8b\x08", "dataset-format", "gzip"),
        (b"PAR1", "dataset-format", "Parquet"),
        (b"a,b,c\n1,2,3\n", "dataset-format", "not an NPZ"),
        (b"PK\x03\x04" + bytes(50), "dataset-truncated", "ends early"),
    ],
)
def test_other_files(data: bytes, code: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        _read(data, tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize("part", [0.2, 0.5, 0.99])
def test_a_cut_file_is_truncated(part: float, tmp_path: Path) -> None:
    data = npz(**digits())
    assert _code(data[: int(len(data) * part)], tmp_path) == "dataset-truncated"


def test_the_end_mark(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = npz(x=np.ones(3))
    for content, expected in ((data, True), (data[:-1], False), (data + b"x", False), (b"", False)):
        path.write_bytes(content)
        assert has_end_record(path) is expected
    path.write_bytes(data[:-2] + struct.pack("<H", 26) + b"PK\x05\x06" + bytes(22))
    assert has_end_record(path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    data = bytearray(npz(x_train=np.ones((50, 4))))
    data[400] ^= 1
    assert _code(bytes(data), tmp_path) == "dataset-format"


def test_objects_are_never_read(tmp_path: Path) -> None:
    array = np.array([{"a": 1}], dtype=object)
    assert _code(npz(x_train=array), tmp_path) == "dataset-pickle"
    assert _code(archive({"x_train.npy": b"\x80\x04."}), tmp_path) == "dataset-format"


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([1 + 2j]),
        np.array(["2026-01-01"], "M8[D]"),
        np.zeros(2, [("a", "i4")]),
        np.zeros(2, "V8"),
    ],
)
def test_types_that_are_no_numbers(array: np.ndarray, tmp_path: Path) -> None:
    assert _code(npz(x_train=array), tmp_path) == "dataset-dtype"


def test_one_array_is_a_decompression_bomb(tmp_path: Path) -> None:
    bomb = npz(compressed=True, x_train=np.zeros(80 * _MEBIBYTE, np.uint8))
    assert len(bomb) < _MEBIBYTE
    assert _code(bomb, tmp_path) == "dataset-decompression-limit"


def test_all_arrays_together_are_limited(tmp_path: Path) -> None:
    data = npz(x_train=np.zeros(600), x_test=np.zeros(600))
    assert (
        _code(data, tmp_path, DatasetLimits(unpacked_bytes=8000)) == "dataset-decompression-limit"
    )
    assert _read(data, tmp_path, DatasetLimits(unpacked_bytes=9600))


def test_black_images_are_no_bomb(tmp_path: Path) -> None:
    black = np.zeros((1000, 1, 28, 28), np.float32)
    assert _read(npz(compressed=True, x_train=black), tmp_path)["x_train"].shape == black.shape


@pytest.mark.parametrize(
    "header",
    [
        described(shape="(4398046511104,)"),
        described(shape="(2, 2)"),
        described(shape="(9223372036854775807, 9223372036854775807)"),
        described(shape="(99999999999999999999999,)"),
        described(shape="(-1,)"),
        described(shape="(" + "1," * 40 + ")"),
        "{'descr': '<f4', 'shape': " + "(" * 300 + ")" * 300 + "}",
        "__import__('os').system('true')",
        described() + "#" * 20_000,
        described(descr="'<f16'"),
    ],
)
def test_descriptions_that_lie(header: str, tmp_path: Path) -> None:
    code = _code(archive({"x_train.npy": npy(header, bytes(4), version=2)}), tmp_path)
    assert code in ("dataset-format", "dataset-dtype")


def test_every_version_of_the_description(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        data = archive({"x_train.npy": npy(described(), bytes(4), version)})
        assert _read(data, tmp_path)["x_train"].tolist() == [0.0]
    assert _code(archive({"x.npy": npy(described(), bytes(4), 9)}), tmp_path) == "dataset-format"
    assert _code(archive({"x.npy": b"\x93NUMPY\x01"}), tmp_path) == "dataset-format"
    assert _code(archive({"x.npy": npy(described(), bytes(3))}), tmp_path) == "dataset-format"
    assert _code(archive({"x.npy": npy(described(), bytes(5))}), tmp_path) == "dataset-format"


def test_too_many_arrays(tmp_path: Path) -> None:
    many = archive({f"x{i}.npy": b"" for i in range(300)})
    assert _code(many, tmp_path) == "dataset-archive-limit"
    lying = many[:-12] + struct.pack("<H", 1) + many[-10:]
    few = DatasetLimits(arrays=2)
    assert _code(lying, tmp_path, few) == "dataset-archive-limit"


@pytest.mark.parametrize(
    "data",
    [
        archive({"readme.txt": b"hello"}),
        archive({"../../etc/passwd": b"x"}),
        archive({"x.npy": npy(described(), bytes(4))}, zipfile.ZIP_LZMA),
        archive({"x\x1b.npy": npy(described(), bytes(4))}),
    ],
)
def test_foreign_members(data: bytes, tmp_path: Path) -> None:
    assert _code(data, tmp_path) == "dataset-format"


def test_encrypted_members(tmp_path: Path) -> None:
    data = bytearray(archive({"x.npy": npy(described(), bytes(4))}))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    assert _code(bytes(data), tmp_path) == "dataset-format"


_SMALL = npz(x_train=np.arange(12.0).reshape(3, 4))


@given(at=st.integers(0, len(_SMALL) - 1), byte=st.integers(0, 255))
def test_damage_anywhere_is_a_clear_error_or_harmless(
    at: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(_SMALL)
    data[at] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(bytes(data))
    with contextlib.suppress(DatasetError):  # any other exception fails the test
        assert sum(array.nbytes for array in read_npz(path, _LIMITS).values()) <= 96
