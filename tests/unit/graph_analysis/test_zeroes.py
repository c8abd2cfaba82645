"""What counts as 0 once removed, and what stays because it is not."""

from collections.abc import Callable

import onnx
import pytest

from graph_analysis import Analysis, GroupKind, analyze, load_model
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder

IMAGE = (BATCH, 3, 16, 16)


def analysed(model: onnx.ModelProto) -> Analysis:
    return analyze(load_model(model.SerializeToString()))


def normalised(before: Callable[[GraphBuilder, str], str]) -> Analysis:
    """An L2 norm over 20 channels that ``before`` makes of a convolution."""
    graph = GraphBuilder("normalised", seed=1)
    y = before(graph, graph.conv(graph.input(IMAGE), 3, 20))
    y = graph.node("LpNormalization", y, axis=1, p=2)
    graph.classify(graph.conv(y, 20, 12), 12)
    return analysed(graph.build())


def widths(analysis: Analysis) -> list[int]:
    return sorted(g.units for g in analysis.space.groups if g.kind is GroupKind.CHANNEL)


SILENT = {
    "nothing": lambda graph, x: x,
    "Relu": lambda graph, x: graph.relu(x),
    "BatchNormalization": lambda graph, x: graph.batch_norm(x, 20),
    "Clip": lambda graph, x: graph.node("Clip", x, graph.constant(-1.0), graph.constant(6.0)),
    "SiLU": lambda graph, x: graph.node("Mul", x, graph.node("Sigmoid", x)),
    "Pow": lambda graph, x: graph.node("Pow", x, graph.constant(2.0)),
    "Split and Concat": lambda graph, x: graph.node(
        "Concat",
        *graph.nodes("Split", x, graph.constant([8, 12]), outputs=2, axis=1),
        axis=1,
    ),
}
LOUD = {
    "Sigmoid": lambda graph, x: graph.node("Sigmoid", x),
    "Exp": lambda graph, x: graph.node("Exp", x),
    "Clip": lambda graph, x: graph.node("Clip", x, graph.constant(0.5), graph.constant(6.0)),
    "Add of a number": lambda graph, x: graph.node("Add", x, graph.constant(1.0)),
    "Add of a map": lambda graph, x: graph.node("Add", x, graph.conv("x", 3, 1)),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_silent_may_go_from_a_norm(name: str) -> None:
    assert 20 in widths(normalised(SILENT[name]))


@pytest.mark.parametrize("name", LOUD)
def test_what_is_not_silent_stays_with_the_reason(name: str) -> None:
    analysis = normalised(LOUD[name])
    assert widths(analysis) == [12]
    reasons = [entry.reason for entry in analysis.space.frozen if entry.initializer]
    assert any("is not 0 after its weights are zeroed" in reason for reason in reasons)


def test_a_divisor_that_would_be_0_stays() -> None:
    graph = GraphBuilder("divisor", seed=2)
    x = graph.input(IMAGE)
    divisor = graph.node("Abs", graph.conv(x, 3, 20))
    y = graph.node("Div", graph.conv(x, 3, 20), divisor)
    graph.classify(graph.conv(y, 20, 12), 12)
    analysis = analysed(graph.build())
    assert widths(analysis) == [12]
    assert any("divides by it" in entry.reason for entry in analysis.space.frozen)


def test_a_norm_of_what_is_not_silent_is_masked_where_it_has_a_masked_form() -> None:
    silent, loud = (
        analysed(HARD_CASES[name]())
        for name in ("l2normalize_over_channel", "l2normalize_after_sigmoid")
    )
    assert 32 in widths(silent)
    assert 32 in widths(loud)
    assert not silent.masks
    assert loud.masks


def test_two_activations_meet_only_where_one_of_them_is_0() -> None:
    for activation, found in (("Relu", [12, 16]), ("Sigmoid", [12])):
        graph = GraphBuilder("product", seed=3)
        x = graph.input(IMAGE)
        parts = [graph.node(activation, graph.conv(x, 3, 16)) for _ in range(2)]
        y = graph.node("Einsum", *parts, equation="bchw,bchw->bhw")
        y = graph.node("Unsqueeze", y, graph.constant([1]))
        y = graph.node("Mul", y, graph.conv(x, 3, 12))
        graph.classify(y, 12)
        assert widths(analysed(graph.build())) == found


SPREAD = {
    "Conv": lambda graph, y, weight: graph.node("Conv", y, weight, kernel_shape=[1, 1]),
    "ConvTranspose": lambda graph, y, weight: graph.node(
        "ConvTranspose", y, graph.node("Transpose", weight, perm=[1, 0, 2, 3])
    ),
    "Einsum": lambda graph, y, weight: graph.node("Einsum", y, weight, equation="bchw,ocij->bohw"),
}


@pytest.mark.parametrize("operator", SPREAD)
@pytest.mark.parametrize("spread", ["ConstantOfShape", "Expand"])
@pytest.mark.parametrize("activation, found", [("Relu", [12, 20]), ("Sigmoid", [12])])
def test_a_weight_that_is_not_stored_reads_only_what_is_silent(
    operator: str, spread: str, activation: str, found: list[int]
) -> None:
    """One number spread over a shape cannot be set to 0 where it reads what is removed."""
    graph = GraphBuilder("spread", seed=4)
    y = graph.node(activation, graph.conv(graph.input(IMAGE), 3, 20))
    number = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [0.3])
    shape = graph.constant([12, 20, 1, 1])
    weight = (
        graph.node("ConstantOfShape", shape, value=number)
        if spread == "ConstantOfShape"
        else graph.node("Expand", graph.constant(0.3), shape)
    )
    y = SPREAD[operator](graph, y, weight)
    graph.classify(graph.node("Relu", y), 12)
    assert widths(analysed(graph.build())) == found
