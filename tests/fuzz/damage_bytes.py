"""Damage below the protobuf: flipped bits, lost ends, spliced files, lengths that lie."""

from collections.abc import Callable

import numpy as np

ByteDamage = Callable[[bytes, bytes, np.random.Generator], bytes]


def flip_bits(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """1 to 8 bits anywhere."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        result[int(rng.integers(len(result)))] ^= 1 << int(rng.integers(8))
    return bytes(result)


def set_bytes(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes to values that end or lengthen a varint."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        result[int(rng.integers(len(result)))] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return bytes(result)


def truncate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """An upload that broke off."""
    return data[: int(rng.integers(0, len(data)))]


def delete_run(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A run of bytes is missing."""
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 64)) :]


def repeat_run(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A run of bytes comes twice, or many times."""
    start = int(rng.integers(len(data)))
    end = start + int(rng.integers(1, 256))
    return data[:end] + data[start:end] * int(rng.choice([1, 2, 50])) + data[end:]


def insert_noise(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Random bytes in the middle."""
    start = int(rng.integers(len(data)))
    return data[:start] + rng.bytes(int(rng.integers(1, 33))) + data[start:]


def splice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The beginning of one file, the end of another."""
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def join(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Two files one after the other: protobuf merges them into one model."""
    return data + other


def lie_about_length(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A byte near the start, where lengths of the graph and its first nodes are, is changed."""
    result = bytearray(data)
    place = int(rng.integers(min(len(result), 400)))
    result[place] = (result[place] + int(rng.integers(1, 256))) % 256
    return bytes(result)


BYTE_DAMAGE: tuple[ByteDamage, ...] = (
    flip_bits,
    set_bytes,
    truncate,
    delete_run,
    repeat_run,
    insert_noise,
    splice,
    join,
    lie_about_length,
)
