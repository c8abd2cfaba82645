"""Dropout in all its versions."""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, only
from optimizer.bridge.ops.movement import converted
from optimizer.bridge.random_draws import Drawing
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("Dropout")
def dropout_legacy(call: Call) -> list[Value]:
    """Up to version 11: the ratio is an attribute.

    The mask has the input's type up to version 9. In evaluation ONNX Runtime leaves it zero.
    """
    results = _dropout(call, call.attribute("ratio", 0.5), rest=False)
    if len(results) > 1 and call.opset < 10:
        results[1] = call.write.emit(converted, results[1], call.dtype(0))
    return results


@operator("Dropout", since=12)
def dropout(call: Call) -> list[Value]:
    """From version 12: the ratio is an input; ``training_mode`` is ours to decide."""
    return _dropout(call, call.numbers(1) if call.has(1) else 0.5)


def _dropout(call: Call, ratio: Value | HostValue, *, rest: bool = True) -> list[Value]:
    module = Dropout(call.attribute("seed"), with_mask=call.num_outputs > 1, rest=rest)
    return call.write.emit_module("dropout", module, call.num_outputs, call.tensor(0), ratio)


class Dropout(Drawing):
    """Dropout in training, the identity in evaluation; optionally with the mask of what is kept.

    ``rest`` is what the mask consists of in evaluation.
    """

    def __init__(self, seed: float | None, *, with_mask: bool, rest: bool = True) -> None:
        super().__init__(seed)
        self.with_mask = with_mask
        self.rest = rest

    def forward(
        self, x: torch.Tensor, ratio: HostValue
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return ``x`` with elements zeroed and the others scaled, and the mask if asked for."""
        share = float(only(ratio))
        if not self.with_mask and (self.seed is None or not self.training):
            return functional.dropout(x, share, self.training)
        if not self.training:
            return x, torch.full_like(x, self.rest, dtype=torch.bool)
        generator = self.generator(x.device)
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
        scale = 1 / (1 - share) if share < 1 else 1.0
        result = torch.where(kept, x * scale, torch.zeros_like(x))
        return (result, kept) if self.with_mask else result
