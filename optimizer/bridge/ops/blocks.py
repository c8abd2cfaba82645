"""Blocks between channels and space."""

import torch

from optimizer.bridge.call import Call
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("DepthToSpace")
def depth_to_space(call: Call) -> Value:
    """Move blocks of channels into space."""
    block, mode = call.attribute("blocksize"), call.attribute("mode", "DCR")
    return call.write.emit(blocks_to_space, call.tensor(0), block, mode)


@operator("SpaceToDepth")
def space_to_depth(call: Call) -> Value:
    """Move blocks of space into channels."""
    block, mode = call.attribute("blocksize"), call.attribute("mode", "DCR")
    return call.write.emit(blocks_to_depth, call.tensor(0), block, mode)


def blocks_to_space(x: torch.Tensor, block: int, mode: str) -> torch.Tensor:
    """Move blocks of channels into space; the block is the outer (DCR) or inner (CRD) factor."""
    batch, channels, height, width = x.shape
    depth = channels // block**2
    if mode == "CRD":
        parts = x.reshape(batch, depth, block, block, height, width)
        ordered = parts.permute(0, 1, 4, 2, 5, 3)
    else:
        parts = x.reshape(batch, block, block, depth, height, width)
        ordered = parts.permute(0, 3, 4, 1, 5, 2)
    return ordered.reshape(batch, depth, height * block, width * block)


def blocks_to_depth(x: torch.Tensor, block: int, mode: str) -> torch.Tensor:
    """Move blocks of space into channels; the block is the outer (DCR) or inner (CRD) factor."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // block, block, width // block, block)
    ordered = parts.permute(0, 1, 3, 5, 2, 4) if mode == "CRD" else parts.permute(0, 3, 5, 1, 2, 4)
    return ordered.reshape(batch, channels * block**2, height // block, width // block)
