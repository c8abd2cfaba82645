"""If, Loop, Scan and SequenceMap while a model runs: modules that call the graphs of their bodies.

A condition or a number of iterations that is a tensor has to be read, which waits for the device
and ends a graph of ``torch.compile``; what is shape arithmetic is a Python number and costs
nothing. Captured values, weights among them, come in as arguments, so gradients reach them through
every iteration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from optimizer.bridge.host import HostValue

Arguments: TypeAlias = Sequence[Any]  # tensors, host values, lists of tensors, None


@dataclass(frozen=True, kw_only=True)
class Stack:
    """How to stack what the iterations make.

    Attributes:
        axis: Of the result.
        is_reversed: Whether the last iteration comes first.
        shape: Of what one iteration makes, for when there is none; 0 where it is not known.
        dtype: The same.
    """

    axis: int = 0
    is_reversed: bool = False
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32

    def __call__(self, made: list[Tensor], anchor: Tensor) -> Tensor:
        """Stack ``made``; ``anchor`` says on which device an empty result belongs."""
        if made:
            return torch.stack(made[::-1] if self.is_reversed else made, self.axis)
        place = self.axis % (len(self.shape) + 1)
        shape = (*self.shape[:place], 0, *self.shape[place:])
        return torch.empty(shape, dtype=self.dtype, device=anchor.device)


class IfModule(torch.nn.Module):
    """Runs one of two graphs. Waits for the device where the condition is a tensor there."""

    def __init__(self, then_branch: torch.nn.Module, else_branch: torch.nn.Module) -> None:
        super().__init__()
        self.then_branch = then_branch
        self.else_branch = else_branch

    def forward(
        self, condition: Tensor | HostValue, then: Arguments, other: Arguments
    ) -> tuple[Any, ...]:
        """Return the results of ``then_branch(*then)`` or ``else_branch(*other)``."""
        result = self.then_branch(*then) if truth(condition) else self.else_branch(*other)
        assert isinstance(result, tuple)
        return result


class LoopModule(torch.nn.Module):
    """Repeats a graph. Waits for the device where its count or a condition is a tensor there.

    Args:
        body: Takes step, condition, states, captured; returns condition, states, what it makes.
        states: How many states there are.
        stacks: How to stack each thing it makes.
    """

    def __init__(self, body: torch.nn.Module, states: int, stacks: Sequence[Stack]) -> None:
        super().__init__()
        self.body = body
        self.states = states
        self.stacks = tuple(stacks)

    def forward(
        self,
        count: Tensor | HostValue | None,
        condition: Tensor | HostValue | None,
        states: Arguments,
        captured: Arguments,
        anchor: Tensor,
    ) -> tuple[Any, ...]:
        """Return the last states, then what the iterations made, stacked.

        Args:
            count: Iterations at most; ``None`` for no limit.
            condition: Whether to begin at all; ``None`` for yes.
            states: Initial values.
            captured: What the body reads besides its inputs.
            anchor: On the device where new tensors belong.
        """
        limit = None if count is None else number(count)
        goes_on = condition is None or truth(condition)
        made: list[list[Tensor]] = [[] for _ in self.stacks]
        step = 0
        while goes_on and (limit is None or step < limit):
            again, *results = self.body(step, goes_on, *states, *captured)
            goes_on, step = truth(again), step + 1
            states = results[: self.states]
            for kept, result in zip(made, results[self.states :], strict=True):
                kept.append(result)
        stacked = (stack(kept, anchor) for stack, kept in zip(self.stacks, made, strict=True))
        return (*states, *stacked)


class ScanModule(torch.nn.Module):
    """Runs a graph over slices of tensors; nothing it does waits for the device.

    Args:
        body: Takes states, slices, captured; returns states, what it makes.
        states: How many states there are.
        slices: Axis, and whether to begin at its end, of every tensor that is scanned.
        stacks: How to stack each thing it makes.
    """

    def __init__(
        self,
        body: torch.nn.Module,
        states: int,
        slices: Sequence[tuple[int, bool]],
        stacks: Sequence[Stack],
    ) -> None:
        super().__init__()
        self.body = body
        self.states = states
        self.slices = tuple(slices)
        self.stacks = tuple(stacks)

    def forward(
        self,
        states: Sequence[Tensor],
        scanned: Sequence[Tensor],
        captured: Arguments,
        anchor: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the last states, then what the iterations made, stacked."""
        parts = [
            x.unbind(axis)[:: -1 if is_reversed else 1]
            for x, (axis, is_reversed) in zip(scanned, self.slices, strict=True)
        ]
        made: list[list[Tensor]] = [[] for _ in self.stacks]
        for slices in zip(*parts, strict=True):
            results = self.body(*states, *slices, *captured)
            states = results[: self.states]
            for kept, result in zip(made, results[self.states :], strict=True):
                kept.append(result)
        stacked = (stack(kept, anchor) for stack, kept in zip(self.stacks, made, strict=True))
        return (*states, *stacked)


class BatchedScanModule(torch.nn.Module):
    """Scan as of opset 8: sample by sample along axis 0, each over its own length.

    Waits for the device where lengths are given. What lies beyond the length of a sample is 0.
    """

    def __init__(self, scan: ScanModule) -> None:
        super().__init__()
        self.scan = scan

    def forward(
        self,
        lengths: Tensor | None,
        states: Sequence[Tensor],
        scanned: Sequence[Tensor],
        captured: Arguments,
        anchor: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the same as ``ScanModule`` for every sample, with the batch as axis 0."""
        longest = scanned[0].shape[1]
        batch = scanned[0].shape[0]
        limits = [longest] * batch if lengths is None else [int(n) for n in lengths.tolist()]
        samples = [
            self.scan(
                [state[place] for state in states],
                [x[place, :limit] for x in scanned],
                captured,
                anchor,
            )
            for place, limit in enumerate(limits)
        ]
        results = []
        for position, parts in enumerate(zip(*samples, strict=True)):
            is_made = position >= len(states)
            results.append(
                torch.stack([_padded(part, longest) if is_made else part for part in parts])
            )
        return tuple(results)


class SequenceMapModule(torch.nn.Module):
    """Runs a graph for every tensor of one or several sequences of the same length."""

    def __init__(self, body: torch.nn.Module, is_sequence: Sequence[bool]) -> None:
        super().__init__()
        self.body = body
        self.is_sequence = tuple(is_sequence)

    def forward(self, inputs: Arguments, captured: Arguments) -> tuple[list[Tensor], ...]:
        """Return a list per result of the body; what is no sequence goes to every call."""
        results = [
            self.body(
                *(
                    given[place] if is_sequence else given
                    for given, is_sequence in zip(inputs, self.is_sequence, strict=True)
                ),
                *captured,
            )
            for place in range(len(inputs[0]))
        ]
        return tuple(list(each) for each in zip(*results, strict=True))


def truth(condition: Tensor | HostValue) -> bool:
    """Return a condition of one element as a Python value; reads the device if it is there."""
    return bool(number(condition))


def number(value: Tensor | HostValue) -> int:
    """Return an integer or a condition of one element; reads the device if it is there."""
    if isinstance(value, Tensor):
        return int(value.item())
    return int(value[0] if isinstance(value, tuple) else value)


def _padded(x: Tensor, length: int) -> Tensor:
    missing = length - x.shape[0]
    if missing == 0:
        return x
    return torch.cat([x, x.new_zeros((missing, *x.shape[1:]))])
