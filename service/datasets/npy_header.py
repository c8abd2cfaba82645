"""The description in front of an array's bytes, read by a strict pattern: nothing is evaluated.

numpy parses it as Python source, which costs gigabytes for some kilobytes of brackets. Only what
numpy itself writes for plain numeric arrays is accepted.
"""

import math
import re
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from service.errors import DatasetError

MAGIC = b"\x93NUMPY"
_MAX_DIMENSIONS = 32
_HEADER = re.compile(
    r"\{\s*'descr':\s*(?P<descr>'[^']{1,40}'|\[.*\])\s*,"
    r"\s*'fortran_order':\s*(?P<order>True|False)\s*,"
    r"\s*'shape':\s*\((?P<shape>[0-9L, ]*)\)\s*,?\s*\}\s*",
    re.DOTALL,
)
_NUMERIC = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")


@dataclass(frozen=True, kw_only=True)
class ArrayHeader:
    """Type, shape and order of an array, and where its bytes begin.

    Attributes:
        dtype: A numeric numpy type.
        shape: Non-negative dimensions.
        is_fortran: The first axis varies fastest.
        data_offset: Bytes before the first element.
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    is_fortran: bool
    data_offset: int

    @property
    def data_bytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: BinaryIO, name: str, *, limit: int) -> ArrayHeader:
    """Read the description of the array called ``name``.

    Args:
        stream: Positioned at the start of the array's file.
        name: For messages.
        limit: Most bytes of the description.

    Raises:
        DatasetError: ``dataset-format``, ``dataset-pickle`` or ``dataset-dtype``.
    """
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(MAGIC) or start[6] not in (1, 2, 3):
        raise _broken(name)
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > limit:
        raise _broken(name)
    text = stream.read(length).decode("latin-1")
    found = _HEADER.fullmatch(text)
    if len(text) != length or found is None:
        raise _broken(name)
    return ArrayHeader(
        dtype=_dtype(found["descr"], name),
        shape=_shape(found["shape"], name),
        is_fortran=found["order"] == "True",
        data_offset=8 + width + length,
    )


def _dtype(text: str, name: str) -> np.dtype[np.generic]:
    plain = text.strip("'")
    if "O" in plain:
        message = (
            f"array '{name}' holds Python objects (pickle), which are never read; "
            "save plain arrays, without dtype=object"
        )
        raise DatasetError(message, code="dataset-pickle", param=name)
    if not _NUMERIC.fullmatch(plain):
        message = f"array '{name}' has the type {plain[:40]!r}; only plain numbers can be used"
        raise DatasetError(message, code="dataset-dtype", param=name)
    return np.dtype(plain)


def _shape(text: str, name: str) -> tuple[int, ...]:
    numbers = [part.strip().removesuffix("L") for part in text.split(",") if part.strip()]
    if len(numbers) > _MAX_DIMENSIONS or not all(n.isdecimal() and len(n) < 20 for n in numbers):
        raise _broken(name)
    return tuple(int(number) for number in numbers)


def _broken(name: str) -> DatasetError:
    message = f"array '{name}' is not a numpy array, or is damaged; save it with numpy.savez"
    return DatasetError(message, code="dataset-format", param=name)
