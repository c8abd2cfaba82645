"""Sampling an image at computed positions."""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value

_MODES = {"linear": "bilinear", "cubic": "bicubic"}  # names from version 20 on


@operator("GridSample", since=16)
def grid_sample(call: Call) -> Value:
    """Interpolate the input at the positions of a grid, given in -1..1."""
    mode = call.attribute("mode", "bilinear")
    padding, align = (
        call.attribute("padding_mode", "zeros"),
        bool(call.attribute("align_corners", 0)),
    )
    rank = call.value(0).rank
    if rank not in {4, 5, None} or (rank == 5 and mode in {"cubic", "bicubic"}):
        message = f"of {rank} axes with mode={mode!r} is not covered"
        raise UnsupportedVariant(message)
    return call.write.emit(
        sample, call.tensor(0), call.tensor(1), _MODES.get(mode, mode), padding, align=align
    )


def sample(
    x: torch.Tensor, grid: torch.Tensor, mode: str, padding: str, *, align: bool
) -> torch.Tensor:
    """Return ``x`` at the positions of ``grid``."""
    return functional.grid_sample(x, grid, mode, padding, align)
