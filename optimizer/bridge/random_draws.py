"""Random numbers of a module: from torch's generator of the device, or from one of its own.

An operator with a seed draws the same sequence in every run of a program, one step further with
each call, as a session of ONNX Runtime does; the numbers themselves are torch's.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Generators = dict[torch.device, torch.Generator]


class Drawing(torch.nn.Module):
    """Base of modules that draw. Copies and pickles begin the sequence of a seed anew.

    ``drawn`` is how far the sequence of a seed is; a checkpoint keeps it.
    """

    def __init__(self, seed: float | None) -> None:
        super().__init__()
        self.seed = seed
        self._generators: Generators = {}
        self._resumed_at: torch.Tensor | None = None

    def generator(self, device: torch.device) -> torch.Generator | None:
        """Return the generator for a device; ``None`` is the one that torch has for it."""
        if self.seed is None or device.type == "meta":
            return None
        if device not in self._generators:
            (bits,) = struct.unpack("<I", struct.pack("<f", self.seed))  # ONNX has floats as seeds
            self._generators[device] = torch.Generator(device).manual_seed(bits)
            if self._resumed_at is not None:
                self._generators[device].set_state(self._resumed_at)
                self._resumed_at = None
        return self._generators[device]

    @property
    def drawn(self) -> torch.Tensor | None:
        """State of the generator of the last device; ``None`` before the first draw."""
        if not self._generators:
            return self._resumed_at
        return list(self._generators.values())[-1].get_state()

    @drawn.setter
    def drawn(self, state: torch.Tensor | None) -> None:
        self._generators = {}
        self._resumed_at = state

    def __getstate__(self) -> dict[str, Any]:
        """Leave the generators out: they belong to a device and a run."""
        return {**self.__dict__, "_generators": {}, "_resumed_at": None}

    def extra_repr(self) -> str:
        """Show the seed."""
        return f"seed={self.seed}"


def sequences(module: torch.nn.Module) -> dict[Drawing, torch.Tensor | None]:
    """How far the sequences of seeds in ``module`` are."""
    drawings = (one for one in module.modules() if isinstance(one, Drawing))
    return {one: one.drawn for one in drawings if one.seed is not None}


@contextmanager
def replayed(
    module: torch.nn.Module, begin: Mapping[Drawing, torch.Tensor | None] | None = None
) -> Iterator[None]:
    """Put the sequences of seeds in ``module`` back to where they are now at the end.

    Args:
        module: Draws in between.
        begin: Where its sequences go on from in between; where they are if None.
    """
    now = sequences(module)
    _set(begin or {})
    try:
        yield
    finally:
        _set(now)


def _set(states: Mapping[Drawing, torch.Tensor | None]) -> None:
    for drawing, drawn in states.items():
        drawing.drawn = drawn
