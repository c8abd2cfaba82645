"""One damaged model per case number, the same every time for the same seed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from tests.fuzz.damage_bytes import BYTE_DAMAGE
from tests.fuzz.damage_graphs import GRAPH_DAMAGE

_BYTE_SHARE = 0.25  # of the cases; the protobuf parser turns most of these away


@dataclass(frozen=True, kw_only=True)
class Case:
    """A damaged model and where it came from."""

    number: int
    model: str
    damage: tuple[str, ...]
    data: bytes


def make_case(models: Mapping[str, bytes], number: int, seed: int) -> Case:
    """Case ``number`` of ``seed``: one model, damaged once to three times."""
    rng = np.random.default_rng([seed, number])
    names = list(models)
    name = names[int(rng.integers(len(names)))]
    times = int(rng.choice([1, 1, 1, 2, 3]))
    if rng.random() < _BYTE_SHARE:
        data, done = models[name], []
        for _ in range(times):
            damage = BYTE_DAMAGE[int(rng.integers(len(BYTE_DAMAGE)))]
            data = damage(data or b"\x08", models[names[int(rng.integers(len(names)))]], rng)
            done.append(damage.__name__)
        return Case(number=number, model=name, damage=tuple(done), data=data)
    model = onnx.load_model_from_string(models[name])
    done = []
    for _ in range(times):
        change = GRAPH_DAMAGE[int(rng.integers(len(GRAPH_DAMAGE)))]
        change(model, rng)
        done.append(change.__name__)
    return Case(number=number, model=name, damage=tuple(done), data=model.SerializeToString())
