"""What ONNX Runtime's quantiser writes as operators on stored integers: cut, exactly."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from exporters.masked import mask
from exporters.surgeon import shrink
from graph_analysis.pipeline import Analysis
from graph_analysis.testing.builder import BATCH, GraphBuilder
from tests.integration.golden import analysis_of, feeds_of, nothing_removed, random_solution, run

SEEDS = range(4)


def convolutions() -> onnx.ModelProto:
    """A residual branch, a depthwise convolution, a Concat, pooling, two linear layers."""
    graph = GraphBuilder("convolutions", seed=5)
    trunk = graph.relu(graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 16))
    inner = graph.relu(graph.conv(trunk, 16, 24))
    trunk = graph.relu(graph.node("Add", graph.conv(inner, 24, 16), trunk))
    deep = graph.relu(graph.conv(trunk, 16, 16, groups=16))
    y = graph.node("Concat", deep, graph.relu(graph.conv(trunk, 16, 12)), axis=1)
    y = graph.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = graph.relu(graph.conv(y, 28, 20))
    graph.classify(y, 20)
    return graph.build()


def perceptron() -> onnx.ModelProto:
    graph = GraphBuilder("perceptron", seed=6)
    x = graph.relu(graph.linear(graph.input((BATCH, 8, 16)), 16, 32))
    x = graph.node("Add", x, graph.relu(graph.linear(graph.relu(graph.linear(x, 32, 48)), 48, 32)))
    pooled = graph.node("ReduceMean", x, axes=[1], keepdims=0)
    graph.output(graph.linear(pooled, 32, 10), (BATCH, 10))
    return graph.build()


class Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, model: onnx.ModelProto) -> None:
        self._rest: Iterator[Any] = iter([feeds_of(model, 4, seed) for seed in range(3)])

    def get_next(self) -> Any:
        return next(self._rest, None)


def quantised(model: onnx.ModelProto, folder: Path, **settings: Any) -> onnx.ModelProto:
    source, target = folder / "float.onnx", folder / "stored.onnx"
    onnx.save(model, source)
    if settings.pop("dynamic", False):
        quantize_dynamic(source, target, **settings)
    else:
        quantize_static(
            source, target, Samples(model), quant_format=QuantFormat.QOperator, **settings
        )
    return onnx.load(target)


def check(analysis: Analysis, seed: int) -> float:
    """Masked == cut, and costs as predicted; the share of MACs that is left."""
    solution = random_solution(analysis, seed)
    masked, cut = mask(analysis, solution), shrink(analysis, solution)
    for batch in (1, 3):
        feeds = feeds_of(masked, batch, seed)
        expected, found = run(masked, feeds), run(cut, feeds)
        for name, values in expected.items():
            assert np.ptp(values) > 0
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)
    again = analysis_of(cut)
    nothing = nothing_removed(again)
    assert again.macs(nothing) == analysis.macs(solution)
    assert again.parameters(nothing) == analysis.parameters(solution)
    return analysis.macs(solution) / analysis.space.model.macs


def channels(analysis: Analysis) -> list[int]:
    return sorted(g.units for g in analysis.space.groups if g.kind.value == "channel")


@pytest.mark.parametrize("per_channel", [False, True])
def test_static_convolutions_are_cut_as_far_as_float_ones(
    per_channel: bool, tmp_path: Path
) -> None:
    model = quantised(convolutions(), tmp_path, per_channel=per_channel)
    operators = {node.op_type for node in model.graph.node}
    assert {"QLinearConv", "QLinearAdd", "QLinearConcat", "QGemm"} <= operators
    analysis = analysis_of(model)
    assert channels(analysis) == channels(analysis_of(convolutions())) == [12, 16, 20, 24]
    assert min(check(analysis, seed) for seed in SEEDS) < 0.6


def test_static_weights_with_a_zero_point_stay_where_they_are_read(tmp_path: Path) -> None:
    kind = QuantType.QUInt8
    model = quantised(convolutions(), tmp_path, weight_type=kind, activation_type=kind)
    analysis = analysis_of(model)
    reasons = {entry.reason for entry in analysis.space.frozen}
    assert any("zero point other than 0" in reason for reason in reasons)
    for seed in SEEDS:
        check(analysis, seed)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("build", "expected"), [(convolutions, [12, 16, 20, 24]), (perceptron, [32, 48])]
)
def test_dynamic_ranges_do_not_see_what_is_0(
    build: Callable[[], onnx.ModelProto], expected: list[int], per_channel: bool, tmp_path: Path
) -> None:
    model = quantised(
        build(), tmp_path, dynamic=True, per_channel=per_channel, weight_type=QuantType.QInt8
    )
    operators = {node.op_type for node in model.graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= operators
    analysis = analysis_of(model)
    assert channels(analysis) == expected
    assert min(check(analysis, seed) for seed in SEEDS) < 0.6


def test_dynamic_weights_with_a_zero_point_stay_with_that_reason(tmp_path: Path) -> None:
    """Nothing that can be written into the weights makes such a layer put out 0."""
    model = quantised(convolutions(), tmp_path, dynamic=True, weight_type=QuantType.QUInt8)
    analysis = analysis_of(model)
    assert channels(analysis) == []
    reasons = {entry.reason for entry in analysis.space.frozen}
    assert any("takes the range of it" in reason for reason in reasons)


def test_a_range_that_sees_something_else_keeps_its_channels(tmp_path: Path) -> None:
    """A Sigmoid makes 0.5 of a removed channel, which a range of its own takes in."""
    graph = GraphBuilder("sigmoid", seed=7)
    x = graph.node("Sigmoid", graph.linear(graph.input((BATCH, 8, 16)), 16, 32))
    pooled = graph.node("ReduceMean", graph.linear(x, 32, 24), axes=[1], keepdims=0)
    graph.output(graph.linear(pooled, 24, 10), (BATCH, 10))
    model = quantised(graph.build(), tmp_path, dynamic=True, weight_type=QuantType.QInt8)
    assert channels(analysis_of(model)) == [24]


def test_static_perceptron(tmp_path: Path) -> None:
    analysis = analysis_of(quantised(perceptron(), tmp_path))
    assert "QLinearMatMul" in {node.op_type for node in analysis.loaded.model.graph.node}
    assert channels(analysis) == [32, 48]
    assert min(check(analysis, seed) for seed in SEEDS) < 0.6
