"""Random small recurrent networks: every attribute and form of state that an exporter may write.

Every seed is another network; the same seed is always the same one. Tensors are (steps, batch,
width) between the layers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

INPUTS, WIDTH, CLASSES = 5, 8, 3
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
_OPSETS = (13, 14, 17, 20, 22)

Block = Callable[["_Writer", str, int], tuple[str, int]]


def random_recurrent_network(seed: int, *, blocks: int = 3) -> onnx.ModelProto:
    """A model of (N, steps, 5) sequences made of at most ``blocks`` random blocks."""
    rng = np.random.default_rng(seed)
    opset = int(rng.choice(_OPSETS))
    graph = GraphBuilder(f"random_recurrent_{seed}", seed=seed, opset=opset)
    steps = int(rng.integers(2, 6))
    writer = _Writer(graph, rng, steps)
    x, width = graph.linear(graph.input((BATCH, steps, INPUTS)), INPUTS, WIDTH), WIDTH
    x = graph.transpose(x, [1, 0, 2])
    for _ in range(int(rng.integers(1, blocks + 1))):
        x, width = BLOCKS[rng.integers(len(BLOCKS))](writer, x, width)
    if rng.random() < 0.4:
        outputs, hidden, directions = writer.layer(x, width)
        last = writer.view(graph.transpose(outputs[1], [1, 0, 2]), [0, directions * hidden])
        graph.output(graph.gemm(last, directions * hidden, CLASSES), (BATCH, CLASSES))
    else:
        y = graph.linear(graph.transpose(x, [1, 0, 2]), width, CLASSES)
        graph.output(y, (BATCH, steps, CLASSES))
    return graph.build()


class _Writer:
    """Adds random layers to one graph."""

    def __init__(self, graph: GraphBuilder, rng: np.random.Generator, steps: int) -> None:
        self.graph = graph
        self.rng = rng
        self.steps = steps

    def layer(
        self, x: str, width: int, hidden: int | None = None
    ) -> tuple[tuple[str, ...], int, int]:
        """A layer over ``x``; returns its outputs, hidden units and directions."""
        op_type = str(self.rng.choice(list(_GATES)))
        hidden = hidden or int(self.rng.integers(2, 8))
        direction = str(self.rng.choice(["forward", "reverse", "bidirectional"]))
        directions = 2 if direction == "bidirectional" else 1
        rows = _GATES[op_type] * hidden
        batch = self.graph.slice(self.graph.node("Shape", x), [0], [1], ends=[2])
        inputs = [
            x,
            self.graph.weight(directions, rows, width, scale=width**-0.5, name="W"),
            self.graph.weight(directions, rows, hidden, scale=hidden**-0.5, name="R"),
            self.graph.weight(directions, 2 * rows, name="B") if self.rng.random() < 0.8 else "",
            self._lengths(batch) if self.rng.random() < 0.25 else "",
            self._state(batch, directions, hidden),
        ]
        if op_type == "LSTM":
            inputs.append(self._state(batch, directions, hidden))
            if self.rng.random() < 0.3:
                inputs.append(self.graph.weight(directions, 3 * hidden, scale=0.5, name="P"))
        while not inputs[-1]:
            inputs.pop()
        attributes = self._attributes(op_type, directions)
        outputs = 3 if op_type == "LSTM" else 2
        attributes |= {"hidden_size": hidden, "direction": direction}
        made = self.graph.nodes(op_type, *inputs, outputs=outputs, **attributes)
        return made, hidden, directions

    def view(self, x: str, shape: list[int]) -> str:
        """Reshape to constant sizes."""
        return self.graph.node("Reshape", x, self.graph.constant(shape, name="target"))

    def joined(self, x: str, width: int) -> tuple[str, int]:
        """A layer over ``x``, its directions joined to one axis."""
        (y, *_), hidden, directions = self.layer(x, width)
        joined = self.graph.transpose(y, [0, 2, 1, 3])
        size = -1 if self.rng.random() < 0.5 else directions * hidden
        return self.view(joined, [0, 0, size]), directions * hidden

    def _attributes(self, op_type: str, directions: int) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        if op_type == "LSTM" and self.rng.random() < 0.2:
            attributes["input_forget"] = 1
        if op_type == "GRU":
            attributes["linear_before_reset"] = int(self.rng.integers(2))
        if self.rng.random() < 0.2:
            attributes["clip"] = 0.8
        if self.rng.random() < 0.3:
            names = ["Sigmoid", "Tanh", "Relu", "Softsign"]
            count = _ACTIVATIONS[op_type] - 1
            chosen = ["Sigmoid", *(str(name) for name in self.rng.choice(names, count))]
            attributes["activations"] = chosen * directions
        return attributes

    def _lengths(self, batch: str) -> str:
        length = self.graph.constant([self.steps - 1])
        same = self.graph.node("Expand", length, batch)
        return self.graph.node("Cast", same, to=onnx.TensorProto.INT32)

    def _state(self, batch: str, directions: int, hidden: int) -> str:
        kind = int(self.rng.integers(5))
        if kind == 0:
            return ""
        sizes = [self.graph.constant([directions]), batch, self.graph.constant([hidden])]
        shape = self.graph.node("Concat", *sizes, axis=0)
        if kind == 1:
            return self.graph.node("ConstantOfShape", shape)
        if kind in (2, 3):
            return self.graph.node("Expand", self.graph.constant(0.0 if kind == 2 else 0.5), shape)
        return self.graph.node("Expand", self.graph.weight(directions, 1, hidden), shape)


def _chain(writer: _Writer, x: str, width: int) -> tuple[str, int]:
    return writer.joined(x, width)


def _scaled(writer: _Writer, x: str, width: int) -> tuple[str, int]:
    x, width = writer.joined(x, width)
    scale = writer.graph.weight(width, scale=0.2, shift=1.0, name="scale")
    return writer.graph.relu(writer.graph.node("Mul", x, scale)), width


def _residual(writer: _Writer, x: str, width: int) -> tuple[str, int]:
    (y, *_), _, directions = writer.layer(x, width, width)
    axis = writer.graph.constant([1])
    if directions == 2:
        y = writer.graph.node("ReduceSum", y, axis, keepdims=0)
    else:
        y = writer.graph.node("Squeeze", y, axis)
    return writer.graph.node("Add", x, y), width


def _parallel(writer: _Writer, x: str, width: int) -> tuple[str, int]:
    parts = [writer.joined(x, width) for _ in range(2)]
    joined = writer.graph.node("Concat", *(part for part, _ in parts), axis=2)
    return joined, sum(size for _, size in parts)


BLOCKS: tuple[Block, ...] = (_chain, _chain, _scaled, _residual, _parallel)
