"""Gradient clipping without a pass over the gradients that changes nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-6  # as torch adds it


@torch.no_grad()
def clip(gradients: Sequence[Tensor], max_norm: float) -> None:
    """Scale ``gradients`` in place so that their common norm is at most ``max_norm``.

    The numbers are those of ``torch.nn.utils.clip_grad_norm_``, bit for bit. On the CPU, where
    looking at the norm costs nothing, gradients that are short enough are not touched; on a GPU
    they are multiplied by 1, which is cheaper than waiting for the norm.

    Args:
        gradients: Of all parameters; of any types and devices.
        max_norm: The largest norm.
    """
    if not gradients:
        return
    norm = torch.nn.utils.get_total_norm(gradients)
    factor = (max_norm / (norm + _TINY)).clamp(max=1.0)
    if norm.device.type == "cpu" and float(factor) == 1.0:
        return
    same_place = {(tensor.device, tensor.dtype) for tensor in gradients}
    if len(same_place) == 1 and gradients[0].device == factor.device:
        torch._foreach_mul_(list(gradients), factor)
        return
    for tensor in gradients:
        tensor.mul_(factor.to(tensor.device))
