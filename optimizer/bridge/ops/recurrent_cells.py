"""One step of an LSTM, GRU or RNN as ONNX defines it, and the activations it may use.

Shape letters: B batch, G gates times hidden units, H hidden units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Activation: TypeAlias = tuple[str, float | None, float | None]  # name, alpha, beta


@dataclass(frozen=True, kw_only=True)
class ActivationFunction:
    """``function(x, alpha, beta)``; a default of ``None`` says that it has no such parameter."""

    function: Callable[[Tensor, float, float], Tensor]
    defaults: tuple[float | None, float | None] = (None, None)


# The defaults are those of ONNX Runtime: 0 where ONNX gives none, and for ThresholdedRelu.
ACTIVATIONS: Mapping[str, ActivationFunction] = {
    "Sigmoid": ActivationFunction(function=lambda x, _a, _b: torch.sigmoid(x)),
    "Tanh": ActivationFunction(function=lambda x, _a, _b: torch.tanh(x)),
    "Relu": ActivationFunction(function=lambda x, _a, _b: torch.relu(x)),
    "Softsign": ActivationFunction(function=lambda x, _a, _b: functional.softsign(x)),
    "Softplus": ActivationFunction(function=lambda x, _a, _b: functional.softplus(x)),
    "Affine": ActivationFunction(function=lambda x, a, b: a * x + b, defaults=(0.0, 0.0)),
    "LeakyRelu": ActivationFunction(
        function=lambda x, a, _b: functional.leaky_relu(x, a), defaults=(0.01, None)
    ),
    "ThresholdedRelu": ActivationFunction(
        function=lambda x, a, _b: torch.where(x > a, x, torch.zeros_like(x)), defaults=(0.0, None)
    ),
    "ScaledTanh": ActivationFunction(
        function=lambda x, a, b: a * torch.tanh(b * x), defaults=(0.0, 0.0)
    ),
    "HardSigmoid": ActivationFunction(
        function=lambda x, a, b: torch.clamp(a * x + b, 0, 1), defaults=(0.2, 0.5)
    ),
    "Elu": ActivationFunction(function=lambda x, a, _b: functional.elu(x, a), defaults=(1.0, None)),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one direction does in every step.

    Attributes:
        recurrence: R, ``(G, H)``.
        bias: The half of B that belongs to R.
        peepholes: Of the gates i, o, f.
        activations: f, g, h in the words of ONNX, as many as the operator has.
        clip: Bound on what goes into a gate's activation; 0 for none.
        coupled: Whether the forget gate is 1 minus the input gate.
        reset_first: Whether the state is reset before the product with R.
    """

    recurrence: Tensor
    bias: Tensor | None
    peepholes: Sequence[Tensor] | None
    activations: Sequence[Activation]
    clip: float
    coupled: bool
    reset_first: bool

    def gate(self, place: int, x: Tensor) -> Tensor:
        """Apply an activation to what goes into a gate."""
        return self.activate(place, x.clamp(-self.clip, self.clip) if self.clip else x)

    def activate(self, place: int, x: Tensor) -> Tensor:
        """Apply an activation."""
        name, alpha, beta = self.activations[place]
        return ACTIVATIONS[name].function(x, alpha or 0.0, beta or 0.0)


def lstm_step(cell: Cell, pre_BG: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """``c = f * c + i * g; h = o * tanh(c)``, gates in the order i, o, f, c.

    Args:
        cell: The weights.
        pre_BG: The input's part of all gates.
        states: h and c.
    """
    h, c = states
    gates = functional.linear(h, cell.recurrence, cell.bias) + pre_BG
    enter, leave, forget, new = gates.chunk(4, -1)
    if cell.peepholes is not None:
        enter, forget = enter + cell.peepholes[0] * c, forget + cell.peepholes[2] * c
    enter = cell.gate(0, enter)
    kept = 1 - enter if cell.coupled else cell.gate(0, forget)
    c = kept * c + enter * cell.gate(1, new)
    if cell.peepholes is not None:
        leave = leave + cell.peepholes[1] * c
    return [cell.gate(0, leave) * cell.activate(2, c), c]


def gru_step(cell: Cell, pre_BG: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """``h = (1 - z) * n + z * h``, gates in the order z, r, n.

    Args:
        cell: The weights.
        pre_BG: The input's part of all gates.
        states: h alone.
    """
    (h,) = states
    update_x, reset_x, new_x = pre_BG.chunk(3, -1)
    if cell.reset_first:
        split = 2 * h.shape[-1]
        both, last = cell.recurrence[:split], cell.recurrence[split:]
        bias = (None, None) if cell.bias is None else (cell.bias[:split], cell.bias[split:])
        update_h, reset_h = functional.linear(h, both, bias[0]).chunk(2, -1)
        reset = cell.gate(0, reset_x + reset_h)
        new_h = functional.linear(reset * h, last, bias[1])
    else:
        update_h, reset_h, new_h = functional.linear(h, cell.recurrence, cell.bias).chunk(3, -1)
        new_h = cell.gate(0, reset_x + reset_h) * new_h
    update = cell.gate(0, update_x + update_h)
    new = cell.gate(1, new_x + new_h)
    return [(1 - update) * new + update * h]


def rnn_step(cell: Cell, pre_BG: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """``h = f(x W + h R)``.

    Args:
        cell: The weights.
        pre_BG: The input's part.
        states: h alone.
    """
    return [cell.gate(0, functional.linear(states[0], cell.recurrence, cell.bias) + pre_BG)]


CELLS: Mapping[str, Callable[[Cell, Tensor, Sequence[Tensor]], list[Tensor]]] = {
    "LSTM": lstm_step,
    "GRU": gru_step,
    "RNN": rnn_step,
}
