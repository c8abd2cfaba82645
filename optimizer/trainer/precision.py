"""Mixed precision: convolutions and products in 16 bits, everything that is kept in 32.

Weights, their gradients, the loss and all of H2SPG stay in the type of the file; evaluation and the
ablation of structures run in it too, since that is what the result will be used in.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from optimizer.errors import InputError

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_HALVES = frozenset(_DTYPES.values())
_FULL = (torch.float32, torch.float64)


class Precision:
    """How forward passes of training are computed, and the scale of the loss that it needs.

    Attributes:
        dtype: What autocast computes in; None where it is off.
        scaler: Keeps the gradients of float16 from vanishing; None elsewhere.
    """

    def __init__(self, name: str, module: nn.Module, device: torch.device) -> None:
        """Choose for a module on its device.

        Args:
            name: As in ``TrainConfig``.
            module: What trains.
            device: Where.

        Raises:
            InputError: The file's own weights are in half precision, so nothing keeps more digits
                than the products would have; or the device does not compute in it.
        """
        self._device = device.type
        if name == "auto":
            name = "bfloat16" if _is_fast(module, device) else "float32"
        self.dtype = _DTYPES.get(name)
        if self.dtype is None:
            self.scaler = None
            return
        _check(name, self.dtype, module, device)
        needs_scale = self.dtype is torch.float16
        self.scaler = torch.amp.GradScaler(device.type) if needs_scale else None

    def forward(self) -> AbstractContextManager[Any]:
        """The context of a forward pass of training."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self._device, dtype=self.dtype)

    def widened(self, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``outputs`` as a loss takes them: what autocast made is float32 again."""
        if self.dtype is None:
            return tuple(outputs)
        return tuple(one.float() if one.dtype in _HALVES else one for one in outputs)

    def state(self) -> Mapping[str, Any]:
        """What a checkpoint keeps, JSON-compatible."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put ``state`` back."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(dict(state))


def _is_fast(module: nn.Module, device: torch.device) -> bool:
    full = all(one.dtype in _FULL for one in module.parameters())
    return full and device.type == "cuda" and _has_bfloat16()


def _has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))  # emulated, it is slow


def _check(name: str, dtype: torch.dtype, module: nn.Module, device: torch.device) -> None:
    if any(one.dtype in _HALVES for one in module.parameters()):
        message = (
            f"precision '{name}' needs weights in float32; the file holds some in half precision: "
            "use 'float32', which leaves them as they are"
        )
        raise InputError(message, param="precision")
    if device.type == "cuda" and dtype is torch.bfloat16 and not _has_bfloat16():
        message = "this GPU does not compute in bfloat16; use 'float16' or 'float32'"
        raise InputError(message, param="precision")
