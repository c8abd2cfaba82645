"""Frees a batch of 1 that a graph insists on: the same graph for every sample, all at once.

Where ``relaxing`` cannot tell what in a graph is the batch, running it sample by sample is what the
file means, whatever it does. ``torch.func.vmap`` does so in one go; a graph that it cannot take
(its steps depend on the data) is run in a loop.
"""

import warnings
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, fx

from optimizer.bridge.bindings import Bindings
from optimizer.bridge.ops.normalization import BatchNorm
from optimizer.bridge.trainable_graph import TrainableGraph

Outputs: TypeAlias = Tensor | tuple[Tensor, ...]
_PATH = "rows"
PREFIX = f"{_PATH}.body."  # of the attribute paths of the graph's own tensors


class RowByRow(torch.nn.Module):
    """A graph for one sample, mapped over a batch.

    Calls ``forward`` of the graph, whose own call prints a traceback for what is caught here.

    Attributes:
        body: Takes and returns samples with an axis 0 of size 1.
        has_rows: For each input, whether its axis 0 is the batch; others go to every sample.
        is_vectorised: Whether all samples are computed at once.
    """

    def __init__(
        self, body: TrainableGraph, has_rows: tuple[bool, ...], *, is_vectorised: bool
    ) -> None:
        super().__init__()
        self.body = body
        self.has_rows = has_rows
        self.is_vectorised = is_vectorised

    def forward(self, *inputs: Tensor) -> Outputs:
        """Return the outputs of all samples, joined along axis 0."""
        count = next(x.shape[0] for x, rows in zip(inputs, self.has_rows, strict=True) if rows)
        if count == 1:
            only: Outputs = self.body.forward(*inputs)
            return only
        return self._at_once(inputs) if self.is_vectorised else self._in_turn(inputs, count)

    def _at_once(self, inputs: tuple[Tensor, ...]) -> Outputs:
        axes = tuple(0 if rows else None for rows in self.has_rows)
        split = [
            x.unsqueeze(1) if rows else x for x, rows in zip(inputs, self.has_rows, strict=True)
        ]
        mapped = torch.func.vmap(self.body.forward, in_dims=axes, randomness="different")
        found: Outputs = mapped(*split)
        if isinstance(found, Tensor):
            return found.flatten(0, 1)
        return tuple(tensor.flatten(0, 1) for tensor in found)

    def _in_turn(self, inputs: tuple[Tensor, ...], count: int) -> Outputs:
        pairs = list(zip(inputs, self.has_rows, strict=True))
        found = [
            self.body.forward(*(x[row : row + 1] if rows else x for x, rows in pairs))
            for row in range(count)
        ]
        if isinstance(found[0], Tensor):
            return torch.cat(found)
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def row_by_row(
    body: TrainableGraph, bindings: Bindings, dtypes: Sequence[torch.dtype]
) -> TrainableGraph | None:
    """Return ``body`` for any number of samples; ``None`` where that would be another network.

    It is if the file's batch is not 1, if an output has no axis of size 1 in front (so samples
    cannot be told apart), or if a BatchNormalization looks at the whole batch in training.

    Args:
        body: Imported at the batch of the file.
        bindings: Of the inputs, the second one at another batch.
        dtypes: Element types of the inputs.
    """
    if bindings.batch != 1 or any(isinstance(module, BatchNorm) for module in body.modules()):
        return None
    shapes = [binding.shapes for binding in bindings.inputs]
    has_rows = tuple(both is not None and both[0] != both[1] for both in shapes)
    if not any(has_rows) or None in shapes:
        return None
    one = [
        torch.zeros(both[0], dtype=dtype)
        for both, dtype in zip(shapes, dtypes, strict=True)
        if both is not None
    ]
    was_training = body.training
    is_vectorised = _takes(body.eval(), has_rows, one)
    body.train(was_training)
    if is_vectorised is None:
        return None
    return _around(RowByRow(body, has_rows, is_vectorised=is_vectorised), len(has_rows))


def is_row_by_row(module: fx.GraphModule) -> bool:
    """Whether ``module`` is what ``row_by_row`` returned."""
    return any(isinstance(inner, RowByRow) for inner in module.children())


def _takes(body: TrainableGraph, has_rows: tuple[bool, ...], one: list[Tensor]) -> bool | None:
    """Whether vmap can map ``body``; ``None`` if a loop cannot either."""
    two = [
        torch.cat([x, x]) if rows and x.shape[0] == 1 else x
        for x, rows in zip(one, has_rows, strict=True)
    ]
    with torch.no_grad():
        try:
            once = body.forward(*one)
            looped = RowByRow(body, has_rows, is_vectorised=False)(*two)
        except Exception:  # noqa: BLE001  inputs of zeros can break a graph in any way
            return None
        if not all(x.dim() and x.shape[0] == 1 for x in _listed(once)):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # vmap warns where it is a slow loop of its own
                mapped = RowByRow(body, has_rows, is_vectorised=True)(*two)
        except Exception:  # noqa: BLE001  so can what vmap does not know
            return False
    pairs = zip(_listed(mapped), _listed(looped), strict=True)
    return all(ours.shape == theirs.shape for ours, theirs in pairs)


def _listed(outputs: Outputs) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _around(rows: RowByRow, count: int) -> TrainableGraph:
    root = torch.nn.Module()
    root.add_module(_PATH, rows)
    graph = fx.Graph()
    inputs = tuple(graph.placeholder(f"input_{number}") for number in range(count))
    graph.output(graph.call_module(_PATH, inputs))
    return TrainableGraph(root, graph)
