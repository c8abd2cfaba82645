"""LSTM, GRU and RNN: torch's fused kernels where they compute the same, else step by step.

Shape letters: S steps, B batch, D directions, I inputs, G gates, H hidden units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from optimizer.bridge.call import Call
from optimizer.bridge.ops.recurrent_cells import ACTIVATIONS, CELLS, Activation, Cell
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value

_DEFAULTS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
_TORCH_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # of i o f c; of z r h
_FUSED: Mapping[tuple[str, tuple[str, ...]], Callable[..., tuple[Tensor, ...]]] = {
    ("LSTM", _DEFAULTS["LSTM"]): torch.lstm,
    ("GRU", _DEFAULTS["GRU"]): torch.gru,
    ("RNN", ("Tanh",)): torch.rnn_tanh,
    ("RNN", ("Relu",)): torch.rnn_relu,
}


@operator("LSTM", "GRU", "RNN", since=7)
def recurrent(call: Call) -> list[Value]:
    """A recurrent layer; outputs are Y, Y_h and, for LSTM, Y_c."""
    kind, count = call.node.op_type, 3 if call.node.op_type == "LSTM" else 2
    direction, layout = call.attribute("direction", "forward"), call.attribute("layout", 0)
    activations = _activations(call, 2 if direction == "bidirectional" else 1)
    x, weight, recurrence, bias = (call.optional(position) for position in range(4))
    states = [_state(call, position) for position in (5, 6)]
    lengths, peepholes = call.optional(4), call.optional(7)
    special = {
        "clip": call.attribute("clip", 0.0),
        "coupled": bool(call.attribute("input_forget", 0)),
        "reset_first": kind == "GRU" and not call.attribute("linear_before_reset", 0),
    }
    names = {tuple(name for name, _, _ in each) for each in activations}
    fused = len(names) == 1 and (kind, next(iter(names))) in _FUSED
    operands = (x, weight, recurrence, bias, *states, lengths)
    if fused and peepholes is None and not any(special.values()):
        name = next(iter(names))[0]
        results = call.write.emit_many(count, run_fused, kind, name, *operands, direction, layout)
    else:
        results = call.write.emit_many(
            count,
            run_stepwise,
            kind,
            *operands,
            peepholes,
            direction,
            layout,
            activations,
            **special,
        )
    return results[: call.num_outputs]


def _state(call: Call, position: int) -> Value | None:
    """An initial state; ``None`` if it is left out or a constant zero, of whatever batch."""
    if not call.has(position):
        return None
    value = call.value(position)
    if value.constant is not None and not value.constant.any():
        call.write.baked |= value.sources
        return None
    return call.tensor(position)


def _activations(call: Call, directions: int) -> tuple[tuple[Activation, ...], ...]:
    """Per direction, name, alpha and beta of each; they take from the lists what they need."""
    defaults = _DEFAULTS[call.node.op_type]
    alphas = iter(call.attribute("activation_alpha", ()))
    betas = iter(call.attribute("activation_beta", ()))
    found = []
    for given in call.attribute("activations", defaults * directions):
        name = next((known for known in ACTIVATIONS if known.lower() == given.lower()), None)
        if name is None:
            message = f"with activation {given!r} is not covered"
            raise UnsupportedVariant(message)
        alpha, beta = ACTIVATIONS[name].defaults
        found.append(
            (
                name,
                alpha if alpha is None else next(alphas, alpha),
                beta if beta is None else next(betas, beta),
            )
        )
    if len(found) != len(defaults) * directions:
        message = f"with {len(found)} activations for {directions} directions is not covered"
        raise UnsupportedVariant(message)
    width = len(defaults)
    return tuple(tuple(found[start : start + width]) for start in range(0, len(found), width))


def run_fused(
    kind: str,
    activation: str,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None,
    initial_h: Tensor | None,
    initial_c: Tensor | None,
    lengths: Tensor | None,
    direction: str,
    layout: int,
) -> tuple[Tensor, ...]:
    """All steps in one kernel, after the gates are put into torch's order.

    Args:
        kind: LSTM, GRU (reset after the product) or RNN.
        activation: The first one; the others are the default ones.
        x: ``(S, B, I)``; B first in layout 1.
        weight: ``(D, G * H, I)``.
        recurrence: ``(D, G * H, H)``.
        bias: ``(D, 2 * G * H)``: those of ``weight``, then those of ``recurrence``.
        initial_h: ``(D, B, H)`` or of one sample; B first in layout 1.
        initial_c: Of an LSTM, the same.
        lengths: ``(B,)``, steps per sample; later ones give 0 and leave the state as it is.
        direction: forward, reverse or bidirectional.
        layout: 1 if the batch comes first everywhere.
    """
    x_SBI = x.transpose(0, 1) if layout else x
    hidden = recurrence.shape[2]
    states_DBH = _states(kind, x_SBI, recurrence, (initial_h, initial_c), layout)
    flat: list[Tensor] = []
    for number in range(weight.shape[0]):
        flat += [_ordered(kind, part[number]) for part in (weight, recurrence)]
        if bias is not None:
            flat += [_ordered(kind, half) for half in bias[number].chunk(2)]
    kernel = _Kernel(
        function=_FUSED[kind, (activation, *_DEFAULTS[kind][1:])],
        flat=flat,
        has_bias=bias is not None,
        is_bidirectional=direction == "bidirectional",
    )
    run = kernel.run if lengths is None or x.is_meta else partial(kernel.run_packed, lengths)
    y, last_DBH = run(x_SBI, states_DBH, backwards=direction == "reverse")
    y_SDBH = y.reshape(*y.shape[:2], weight.shape[0], hidden).transpose(1, 2)
    return _results(y_SDBH, last_DBH, layout)


@dataclass(frozen=True, kw_only=True)
class _Kernel:
    """One of torch's recurrent functions and its weights."""

    function: Callable[..., tuple[Tensor, ...]]
    flat: list[Tensor]
    has_bias: bool
    is_bidirectional: bool

    def run(
        self, x: Tensor, states: Sequence[Tensor], *, backwards: bool
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """All steps of ``x``, (S, B, I); outputs (S, B, D * H) and the last states."""
        y, *last = self._call(x.flip(0) if backwards else x, states)
        return y.flip(0) if backwards else y, last

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # sizes depend on data
    def run_packed(
        self, lengths: Tensor, x: Tensor, states: Sequence[Tensor], *, backwards: bool
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The same of the first ``lengths`` steps of every sample; only these are reversed."""
        steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        order = torch.where(steps < lengths, lengths - 1 - steps, steps).unsqueeze(2)
        if backwards:
            x = x.gather(0, order.expand_as(x))
        present = lengths.clamp(min=1).to("cpu", torch.int64)  # torch packs no empty sequence
        packed = pack_padded_sequence(x, present, enforce_sorted=False)
        assert packed.sorted_indices is not None
        assert packed.unsorted_indices is not None
        starts = [state.index_select(1, packed.sorted_indices) for state in states]
        data, *last = self._call(packed.data, starts, packed.batch_sizes)
        y, _ = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])
        if backwards:
            y = y.gather(0, order.expand_as(y))
        is_there = (lengths > 0).unsqueeze(1)
        last = [state.index_select(1, packed.unsorted_indices) for state in last]
        return torch.where(is_there, y, torch.zeros_like(y)), [
            torch.where(is_there, *pair) for pair in zip(last, states, strict=True)
        ]

    def _call(
        self, x: Tensor, states: Sequence[Tensor], batch_sizes: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Call the form for padded input or, given the batch of every step, the packed one."""
        if _lacks_half(x):  # in full precision instead
            with torch.autocast("cpu", enabled=False):
                return self._call(x.float(), [state.float() for state in states], batch_sizes)
        hidden = tuple(states) if len(states) > 1 else states[0]
        training = torch.is_grad_enabled()  # cuDNN keeps what the backward pass needs if told so
        settings = (self.has_bias, 1, 0.0, training, self.is_bidirectional)
        if batch_sizes is not None:
            return self.function(x, batch_sizes, hidden, self.flat, *settings)
        return self.function(x, hidden, self.flat, *settings, False)  # noqa: FBT003


def _lacks_half(x: Tensor) -> bool:
    """Whether autocast would choose a float16 kernel that CPUs do not have."""
    return (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.float16
    )


def run_stepwise(
    kind: str,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None,
    initial_h: Tensor | None,
    initial_c: Tensor | None,
    lengths: Tensor | None,
    peepholes: Tensor | None,
    direction: str,
    layout: int,
    activations: Sequence[Sequence[Activation]],
    *,
    clip: float,
    coupled: bool,
    reset_first: bool,
) -> tuple[Tensor, ...]:
    """One step after the other, with everything that ONNX defines.

    Args:
        kind: LSTM, GRU or RNN.
        x: As in ``run_fused``, like the next six and ``direction`` and ``layout``.
        weight: See there.
        recurrence: See there.
        bias: See there.
        initial_h: See there.
        initial_c: See there.
        lengths: See there.
        peepholes: ``(D, 3 * H)``, for the gates i, o, f.
        direction: See there.
        layout: See there.
        activations: Per direction.
        clip: Bound on what goes into a gate's activation; 0 for none.
        coupled: Whether an LSTM's forget gate is 1 minus the input gate.
        reset_first: Whether a GRU resets the state before it is multiplied with R.
    """
    x_SBI = x.transpose(0, 1) if layout else x
    states_DBH = _states(kind, x_SBI, recurrence, (initial_h, initial_c), layout)
    ys, lasts = [], []
    for number in range(weight.shape[0]):
        cell = Cell(
            recurrence=recurrence[number],
            bias=None if bias is None else bias[number].chunk(2)[1],
            peepholes=None if peepholes is None else peepholes[number].chunk(3),
            activations=activations[number],
            clip=clip,
            coupled=coupled,
            reset_first=reset_first,
        )
        offset = None if bias is None else bias[number].chunk(2)[0]
        pre_SBG = functional.linear(x_SBI, weight[number], offset)
        backwards = direction == "reverse" or number == 1
        start_BH = [state[number] for state in states_DBH]
        y_SBH, last = _all_steps(kind, cell, pre_SBG, start_BH, lengths, backwards=backwards)
        ys.append(y_SBH)
        lasts.append(last)
    last_DBH = [torch.stack(parts) for parts in zip(*lasts, strict=True)]
    return _results(torch.stack(ys, 1), last_DBH, layout)


def _all_steps(
    kind: str,
    cell: Cell,
    pre_SBG: Tensor,
    states: list[Tensor],
    lengths: Tensor | None,
    *,
    backwards: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Outputs of all steps of one direction and its last states."""
    outputs: list[Tensor] = []
    count = pre_SBG.shape[0]
    for step in reversed(range(count)) if backwards else range(count):
        new = CELLS[kind](cell, pre_SBG[step], states)
        if lengths is None:
            states = new
            outputs.append(new[0])
            continue
        is_there = (step < lengths).unsqueeze(1)
        states = [torch.where(is_there, *pair) for pair in zip(new, states, strict=True)]
        outputs.append(torch.where(is_there, new[0], torch.zeros_like(new[0])))
    return torch.stack(outputs[::-1] if backwards else outputs), states


def _states(
    kind: str,
    x_SBI: Tensor,
    recurrence: Tensor,
    given: tuple[Tensor | None, Tensor | None],
    layout: int,
) -> tuple[Tensor, ...]:
    """Initial states of the batch; zeros where none is given."""
    directions, _, hidden = recurrence.shape
    shape = (directions, x_SBI.shape[1], hidden)
    return tuple(
        x_SBI.new_zeros(shape)
        if state is None
        else (state.transpose(0, 1) if layout else state).expand(shape).contiguous()
        for state in (given if kind == "LSTM" else given[:1])
    )


def _ordered(kind: str, rows: Tensor) -> Tensor:
    """The gates of ONNX in torch's order."""
    order = _TORCH_GATES[kind]
    if len(order) == 1:
        return rows
    parts = rows.chunk(len(order))
    return torch.cat([parts[place] for place in order])


def _results(y_SDBH: Tensor, last_DBH: Sequence[Tensor], layout: int) -> tuple[Tensor, ...]:
    if not layout:
        return (y_SDBH, *last_DBH)
    return (y_SDBH.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last_DBH))
