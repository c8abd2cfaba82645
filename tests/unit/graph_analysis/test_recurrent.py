"""LSTM, GRU, RNN: what a hidden unit consists of, what holds it, and what it costs."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graph_analysis import Analysis, Group, GroupKind, analyze, load_model
from graph_analysis.findings import covered_ratio
from graph_analysis.rules.recurrent import is_silent_without_weights
from graph_analysis.testing import HARD_CASES, GraphBuilder

HIDDEN = 8
ROWS = {"LSTM": 4 * HIDDEN, "GRU": 3 * HIDDEN, "RNN": HIDDEN}


def analysis_of(model: onnx.ModelProto) -> Analysis:
    return analyze(load_model(model.SerializeToString()))


def case(name: str) -> Analysis:
    return analysis_of(HARD_CASES[name]())


def widths(analysis: Analysis, kind: GroupKind = GroupKind.CHANNEL) -> list[int]:
    return sorted(group.units for group in analysis.space.groups if group.kind is kind)


def reasons(analysis: Analysis) -> str:
    return "; ".join(entry.reason for entry in analysis.space.frozen)


def slices_of(group: Group) -> dict[tuple[str, int], tuple[tuple[int, ...], ...]]:
    return {(s.initializer.rsplit("_", 1)[0], s.axis): s.unit_indices for s in group.cut}


def layer(
    op_type: str,
    states: Sequence[str] = (),
    *,
    graph: GraphBuilder | None = None,
    x: str = "",
    outputs: Sequence[str] = ("y",),
    **attributes: object,
) -> onnx.ModelProto:
    """One layer of 8 over (steps, batch, 6), and a linear layer over what it gives."""
    graph = graph or GraphBuilder("layer")
    x = x or graph.input((4, 1, 6))
    weights = [graph.weight(1, ROWS[op_type], width) for width in (6, HIDDEN)]
    bias = graph.weight(1, 2 * ROWS[op_type], name="bias")
    y = graph.nodes(
        op_type, x, *weights, bias, "", *states, outputs=2, hidden_size=HIDDEN, **attributes
    )[0]
    if "y" in outputs:
        squeezed = graph.node("Squeeze", y, graph.constant([1]))
        graph.output(graph.linear(squeezed, HIDDEN, 3), (4, None, 3))
    return graph.build()


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("lstm_1layer", [24, 32]),
        ("lstm_2layer_bidir", [24, 32, 32]),
        ("gru", [24, 32]),
        ("gru_bidir_shape_arithmetic", [24, 32, 32]),
        ("gru_opset7", [24, 32]),
        ("rnn_2layer_sigmoid", [24, 32, 32]),
        ("lstm_reverse_peepholes", [24, 32]),
        ("lstm_keras_bidir", [24, 32]),
        ("lstm_encoder_decoder", [24, 32]),
        ("lstm_residual", [32]),
    ],
)
def test_groups_of_the_hard_cases(name: str, channels: list[int]) -> None:
    analysis = case(name)
    assert widths(analysis) == channels
    assert covered_ratio(analysis) > 0.99


def test_a_unit_is_a_row_of_every_gate_of_both_directions_and_a_column() -> None:
    analysis = case("lstm_2layer_bidir")
    first = next(group for group in analysis.space.groups if group.units == 32)
    slices = slices_of(first)
    assert slices["W", 1][5] == (5, 37, 69, 101)
    assert slices["R", 1][5] == (5, 37, 69, 101)
    assert slices["R", 2][5] == (5,)
    assert slices["B", 1][5] == tuple(range(5, 256, 32))
    assert slices["W", 2][5] == (5, 37)  # of the next layer: one per direction
    assert {(s.initializer, s.axis) for s in first.zero} == {
        (s.initializer, s.axis) for s in first.cut
    }


def test_peepholes_and_learned_states_go_with_the_units() -> None:
    analysis = case("lstm_reverse_peepholes")
    slices = slices_of(next(g for g in analysis.space.groups if g.units == 32))
    assert slices["P", 1][1] == (1, 33, 65)
    assert slices["initial_h", 2][1] == slices["initial_c", 2][1] == (1,)


@pytest.mark.parametrize("op_type", ROWS)
def test_macs_are_the_steps_times_both_weights(op_type: str) -> None:
    analysis = analysis_of(layer(op_type))
    rows = ROWS[op_type]
    assert analysis.space.model.macs == 4 * (rows * 6 + rows * HIDDEN + HIDDEN * 3)
    (group,) = analysis.space.groups
    rows, left = rows // HIDDEN * (HIDDEN - 1), HIDDEN - 1
    assert analysis.space.model.macs - group.macs == 4 * (rows * 6 + rows * left + left * 3)


def test_an_initial_state_that_is_a_graph_input_holds_the_units() -> None:
    graph = GraphBuilder("layer")
    x = graph.input((4, "N", 6))
    state = graph.input((1, "N", HIDDEN), "state")
    analysis = analysis_of(layer("GRU", [state], graph=graph, x=x))
    assert not analysis.space.groups
    assert "initial state 'state' of 'gru_0' is a graph input" in reasons(analysis)


def test_a_state_of_one_computed_number_goes_with_the_units() -> None:
    graph = GraphBuilder("layer")
    x = graph.input((4, "N", 6))
    batch = graph.slice(graph.node("Shape", x), [0], [1], ends=[2])
    one, width = graph.constant([1]), graph.constant([HIDDEN])
    shape = graph.node("Concat", one, batch, width, axis=0)
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    state = graph.node("ConstantOfShape", shape, value=half)
    analysis = analysis_of(layer("RNN", [state], graph=graph, x=x))
    assert widths(analysis) == [HIDDEN]


def test_one_zero_state_of_two_layers_does_not_tie_them_and_is_no_parameter() -> None:
    graph = GraphBuilder("layers")
    x = graph.input((4, 1, 6))
    zeros = graph.constant(np.zeros((1, 1, HIDDEN), np.float32), name="zeros")
    rows = ROWS["GRU"]
    for width in (6, HIDDEN):
        weights = [graph.weight(1, rows, length) for length in (width, HIDDEN)]
        y, _ = graph.nodes("GRU", x, *weights, "", "", zeros, outputs=2, hidden_size=HIDDEN)
        x = graph.node("Squeeze", y, graph.constant([1]))
    graph.output(graph.linear(x, HIDDEN, 3), (4, 1, 3))
    analysis = analysis_of(graph.build())
    assert widths(analysis) == [HIDDEN, HIDDEN]
    assert analysis.space.model.parameters == rows * (6 + 3 * HIDDEN) + HIDDEN * 3 + 3
    assert "an initial state of zeros, which is the same as none" in reasons(analysis)


def test_the_batch_may_come_first() -> None:
    graph = GraphBuilder("layer")
    x = graph.linear(graph.input(("N", 4, 5)), 5, 6)
    model = layer("LSTM", graph=graph, x=x, outputs=(), layout=1)
    last = model.graph.node[-1].output[0]
    node = helper.make_node("Squeeze", [last, "two"], ["squeezed"])
    model.graph.node.extend([node, helper.make_node("MatMul", ["squeezed", "w"], ["out"])])
    model.graph.initializer.extend(
        [
            helper.make_tensor("two", TensorProto.INT64, [1], [2]),
            helper.make_tensor("w", TensorProto.FLOAT, [HIDDEN, 3], np.ones(3 * HIDDEN)),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, None))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    analysis = analysis_of(model)
    assert widths(analysis) == [6, HIDDEN]
    rows = ROWS["LSTM"]
    assert analysis.space.model.macs == 4 * (5 * 6 + rows * 6 + rows * HIDDEN + HIDDEN * 3)


def test_a_residual_layer_can_be_erased_unless_its_state_is_an_output() -> None:
    model = HARD_CASES["lstm_residual"]()
    assert widths(analysis_of(model), GroupKind.OPERATOR) == [1]
    state = next(node for node in model.graph.node if node.op_type == "LSTM").output[1]
    model.graph.output.append(helper.make_tensor_value_info(state, TensorProto.FLOAT, [1, "N", 32]))
    analysis = analysis_of(model)
    assert widths(analysis, GroupKind.OPERATOR) == []
    assert "a graph output lies in it" in {entry.reason for entry in analysis.refused}


@pytest.mark.parametrize(
    ("op_type", "activations", "silent"),
    [
        ("LSTM", None, True),
        ("LSTM", ["HardSigmoid", "Relu", "Softsign"], True),
        ("LSTM", ["Sigmoid", "Tanh", "Sigmoid"], False),
        ("GRU", None, True),
        ("GRU", ["Sigmoid", "Affine"], False),
        ("RNN", ["Relu"], True),
        ("RNN", ["Sigmoid"], False),
    ],
)
def test_silence_without_weights(
    op_type: str, activations: list[str] | None, *, silent: bool
) -> None:
    attributes = {} if activations is None else {"activations": activations}
    graph = analysis_of(layer(op_type, **attributes)).graph
    vertex = next(v for v in graph.vertices if v.op_type == op_type)
    assert is_silent_without_weights(graph, vertex) is silent
    assert not is_silent_without_weights(graph, graph.vertices[-1])


def test_a_state_from_elsewhere_is_not_silent() -> None:
    graph = case("lstm_encoder_decoder").graph
    vertices = [v for v in graph.vertices if v.op_type == "LSTM"]
    assert [is_silent_without_weights(graph, v) for v in vertices] == [True, False]


def test_states_of_two_layers_in_one_weight_stay_apart_and_both() -> None:
    graph = GraphBuilder("layer")
    x = graph.input((4, 1, 6))
    states = graph.weight(2, 1, HIDDEN, name="states")
    state = graph.slice(states, [0], [1], ends=[2])
    analysis = analysis_of(layer("GRU", [state], graph=graph, x=x))
    assert widths(analysis) == [HIDDEN]  # not the two layers
    assert "states" in {s.initializer.rsplit("_", 1)[0] for s in analysis.space.groups[0].cut}
