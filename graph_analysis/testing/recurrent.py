"""Hard cases about LSTM, GRU and RNN, in the forms that exporters write them in."""

from typing import Any

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

STEPS, WIDTH, HIDDEN = 6, 24, 32
SEQUENCE = (BATCH, STEPS, 16)
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def lstm_1layer() -> onnx.ModelProto:
    """Linear 24, LSTM 32 from computed zeros, Linear at every step."""
    graph = GraphBuilder("lstm_1layer", seed=90)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    zeros = _zeros_by_constant_of_shape(graph, x, 2)
    states = [graph.slice(zeros, [0], [part], ends=[part + 1]) for part in range(2)]
    y, _, _ = _layer(graph, "LSTM", x, WIDTH, states=states)
    y = graph.transpose(graph.node("Squeeze", y, graph.constant([1])), [1, 0, 2])
    graph.output(graph.linear(y, HIDDEN, 10), (BATCH, STEPS, 10))
    return graph.build()


def lstm_2layer_bidir() -> onnx.ModelProto:
    """Two bidirectional LSTMs of 32 as torch writes them; all states are slices of one zero."""
    graph = GraphBuilder("lstm_2layer_bidir", seed=91)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    zeros = _zeros_by_constant_of_shape(graph, x, 4)
    width = WIDTH
    for start in (0, 2):
        states = [graph.slice(zeros, [0], [start], ends=[start + 2]) for _ in range(2)]
        y, _, _ = _layer(graph, "LSTM", x, width, states=states, direction="bidirectional")
        x = graph.reshape(graph.transpose(y, [0, 2, 1, 3]), [0, 0, -1])
        width = 2 * HIDDEN
    last = graph.node("Gather", graph.transpose(x, [1, 0, 2]), graph.constant(-1), axis=1)
    graph.output(graph.gemm(last, width, 10), (BATCH, 10))
    return graph.build()


def gru() -> onnx.ModelProto:
    """Linear 24, GRU 32 (reset after the product), Linear on the last state."""
    graph = GraphBuilder("gru", seed=92)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    _, last = _layer(graph, "GRU", x, WIDTH, linear_before_reset=1)
    graph.output(graph.gemm(_only_direction(graph, last), HIDDEN, 10), (BATCH, 10))
    return graph.build()


def gru_bidir_shape_arithmetic() -> onnx.ModelProto:
    """Two GRUs (reset before the product) in opset 20; sizes of the view are multiplied out."""
    graph = GraphBuilder("gru_bidir_shape_arithmetic", seed=93, opset=20)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    batch = graph.slice(graph.node("Shape", x), [0], [1], ends=[2])
    shape = graph.node("Concat", graph.constant([4]), batch, graph.constant([HIDDEN]), axis=0)
    zeros = graph.node("Expand", graph.constant(0.0), shape)
    width = WIDTH
    for start in (0, 2):
        states = [graph.slice(zeros, [0], [start], ends=[start + 2])]
        y, _ = _layer(graph, "GRU", x, width, states=states, direction="bidirectional")
        x, width = _joined_by_arithmetic(graph, y), 2 * HIDDEN
    pooled = graph.node("ReduceMean", x, graph.constant([0]), keepdims=0)
    graph.output(graph.gemm(pooled, width, 10), (BATCH, 10))
    return graph.build()


def gru_opset7() -> onnx.ModelProto:
    """A reverse GRU without biases in opset 7, whose Squeeze has its axes as an attribute."""
    graph = GraphBuilder("gru_opset7", seed=94, opset=7)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    y, _ = _layer(graph, "GRU", x, WIDTH, bias=False, direction="reverse")
    y = graph.transpose(graph.node("Squeeze", y, axes=[1]), [1, 0, 2])
    graph.output(graph.linear(y, HIDDEN, 10), (BATCH, STEPS, 10))
    return graph.build()


def rnn_2layer_sigmoid() -> onnx.ModelProto:
    """Two RNNs; the second one's Sigmoid makes 1/2 of nothing, which nobody may see."""
    graph = GraphBuilder("rnn_2layer_sigmoid", seed=95)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    y, _ = _layer(graph, "RNN", x, WIDTH)
    y = graph.node("Squeeze", y, graph.constant([1]))
    _, last = _layer(graph, "RNN", y, HIDDEN, activations=["Sigmoid"], clip=1.5)
    graph.output(graph.gemm(_only_direction(graph, last), HIDDEN, 10), (BATCH, 10))
    return graph.build()


def lstm_reverse_peepholes() -> onnx.ModelProto:
    """Backwards, with peepholes, coupled gates, and initial states that are weights of 32."""
    graph = GraphBuilder("lstm_reverse_peepholes", seed=96)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    batch = graph.slice(graph.node("Shape", x), [0], [1], ends=[2])
    one, width = graph.constant([1]), graph.constant([HIDDEN])
    shape = graph.node("Concat", one, batch, width, axis=0)
    states = [
        graph.node("Expand", graph.weight(1, 1, HIDDEN, scale=0.7, name=name), shape)
        for name in ("initial_h", "initial_c")
    ]
    y, _, _ = _layer(
        graph,
        "LSTM",
        x,
        WIDTH,
        states=states,
        peepholes=True,
        direction="reverse",
        input_forget=1,
    )
    y = graph.transpose(graph.node("Squeeze", y, graph.constant([1])), [1, 0, 2])
    graph.output(graph.linear(y, HIDDEN, 10), (BATCH, STEPS, 10))
    return graph.build()


def lstm_keras_bidir() -> onnx.ModelProto:
    """tf2onnx's bidirectional LSTM: zeros joined, each direction sliced off, ends joined again."""
    graph = GraphBuilder("lstm_keras_bidir", seed=97)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    batch = graph.slice(graph.node("Shape", x), [0], [1], ends=[2])
    shape = graph.node("Concat", batch, graph.constant([HIDDEN]), axis=0)
    zeros = graph.node("Expand", graph.constant(0.0), shape)
    zeros = graph.node("Unsqueeze", zeros, graph.constant([0]))
    zeros = graph.node("Concat", zeros, zeros, axis=0)
    y, _, _ = _layer(
        graph,
        "LSTM",
        x,
        WIDTH,
        states=[zeros, zeros],
        direction="bidirectional",
        activations=["Sigmoid", "Tanh", "Tanh"] * 2,
    )
    ends = []
    for part, step in ((0, -1), (1, 0)):
        side = graph.slice(y, [1], [part], ends=[part + 1])
        side = graph.node("Squeeze", side, graph.constant([1]))
        ends.append(graph.node("Gather", side, graph.constant(step), axis=0))
    joined = graph.node("Concat", *ends, axis=1)
    graph.output(graph.gemm(joined, 2 * HIDDEN, 10), (BATCH, 10))
    return graph.build()


def lstm_encoder_decoder() -> onnx.ModelProto:
    """The second LSTM starts from the first one's states; padded steps are left out."""
    graph = GraphBuilder("lstm_encoder_decoder", seed=98)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, WIDTH))
    batch = graph.slice(graph.node("Shape", x), [0], [1], ends=[2])
    lengths = graph.node("Expand", graph.constant([STEPS - 2]), batch)
    lengths = graph.node("Cast", lengths, to=onnx.TensorProto.INT32)
    _, h, c = _layer(graph, "LSTM", x, WIDTH, lengths=lengths)
    y, _, _ = _layer(graph, "LSTM", x, WIDTH, states=[h, c])
    y = graph.transpose(graph.node("Squeeze", y, graph.constant([1])), [1, 0, 2])
    graph.output(graph.linear(y, HIDDEN, 10), (BATCH, STEPS, 10))
    return graph.build()


def lstm_residual() -> onnx.ModelProto:
    """An LSTM of the trunk's width beside a skip: units go with the trunk, or it goes whole."""
    graph = GraphBuilder("lstm_residual", seed=99)
    x = _steps_first(graph, graph.linear(graph.input(SEQUENCE), 16, HIDDEN))
    y, _, _ = _layer(graph, "LSTM", x, HIDDEN)
    x = graph.node("Add", x, graph.node("Squeeze", y, graph.constant([1])))
    y = graph.transpose(x, [1, 0, 2])
    graph.output(graph.linear(y, HIDDEN, 10), (BATCH, STEPS, 10))
    return graph.build()


def _layer(
    graph: GraphBuilder,
    op_type: str,
    x: str,
    width: int,
    *,
    states: list[str] | None = None,
    lengths: str = "",
    bias: bool = True,
    peepholes: bool = False,
    **attributes: Any,
) -> tuple[str, ...]:
    """A recurrent layer of 32 over (steps, batch, width); returns Y, Y_h and Y_c."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = _GATES[op_type] * HIDDEN
    inputs = [
        x,
        graph.weight(directions, rows, width, scale=width**-0.5, name="W"),
        graph.weight(directions, rows, HIDDEN, scale=HIDDEN**-0.5, name="R"),
        graph.weight(directions, 2 * rows, scale=0.5, name="B") if bias else "",
        lengths,
        *(states or []),
    ]
    if peepholes:
        inputs.append(graph.weight(directions, 3 * HIDDEN, scale=0.5, name="P"))
    outputs = 3 if op_type == "LSTM" else 2
    while not inputs[-1]:
        inputs.pop()
    return graph.nodes(op_type, *inputs, outputs=outputs, hidden_size=HIDDEN, **attributes)


def _steps_first(graph: GraphBuilder, x: str) -> str:
    return graph.transpose(x, [1, 0, 2])


def _only_direction(graph: GraphBuilder, state: str) -> str:
    return graph.node("Squeeze", state, graph.constant([0]))


def _zeros_by_constant_of_shape(graph: GraphBuilder, x: str, count: int) -> str:
    """Zeros of (count, batch, 32), the batch read from ``x``."""
    batch = graph.node("Gather", graph.node("Shape", x), graph.constant(np.int64(1)), axis=0)
    batch = graph.node("Unsqueeze", batch, graph.constant([0]))
    shape = graph.node("Concat", graph.constant([count]), batch, graph.constant([HIDDEN]), axis=0)
    return graph.node("ConstantOfShape", shape)


def _joined_by_arithmetic(graph: GraphBuilder, y: str) -> str:
    """(S, D, B, H) to (S, B, D * H) with every size sliced out of a Shape."""
    y = graph.transpose(y, [0, 2, 1, 3])
    shape = graph.node("Shape", y)
    steps, batch, directions, hidden = (
        graph.slice(shape, [0], [axis], ends=[axis + 1]) for axis in range(4)
    )
    width = graph.node("Mul", directions, hidden)
    width = graph.node("Reshape", width, graph.constant([-1]))
    return graph.node("Reshape", y, graph.node("Concat", steps, batch, width, axis=0))


CASES = (
    lstm_1layer,
    lstm_2layer_bidir,
    gru,
    gru_bidir_shape_arithmetic,
    gru_opset7,
    rnn_2layer_sigmoid,
    lstm_reverse_peepholes,
    lstm_keras_bidir,
    lstm_encoder_decoder,
    lstm_residual,
)
