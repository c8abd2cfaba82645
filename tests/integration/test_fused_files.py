"""What ONNX Runtime's own optimiser writes: fused in the runtime, analysed, cut and proved here."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from graph_analysis.pipeline import Analysis
from graph_analysis.search_space import GroupKind
from graph_analysis.testing.builder import BATCH, GraphBuilder
from tests.integration.golden import analysis_of, nothing_removed, random_solution

SEEDS = range(3)


def encoder(opset: int) -> onnx.ModelProto:
    """Embedded tokens, attention, an MLP; norms and GELU written out as exporters do."""
    graph = GraphBuilder("encoder", seed=opset, opset=opset)
    x = graph.linear(graph.input((BATCH, 8, 16)), 16, 32)
    parts = [
        graph.transpose(graph.reshape(graph.linear(x, 32, 32), [0, 8, 4, 8]), [0, 2, 1, 3])
        for _ in range(3)
    ]
    scores = graph.node("MatMul", parts[0], graph.transpose(parts[1], [0, 1, 3, 2]))
    scores = graph.node("Div", scores, graph.constant(np.float32(8**0.5)))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=3), parts[2])
    mixed = graph.reshape(graph.transpose(mixed, [0, 2, 1, 3]), [0, 8, 32])
    x = _norm(graph, graph.node("Add", x, graph.linear(mixed, 32, 32)))
    inner = graph.linear(x, 32, 48)
    error = graph.node("Erf", graph.node("Div", inner, graph.constant(np.float32(2**0.5))))
    gated = graph.node("Mul", inner, graph.node("Add", error, graph.constant(np.float32(1))))
    inner = graph.linear(graph.node("Mul", gated, graph.constant(np.float32(0.5))), 48, 32)
    x = _norm(graph, graph.node("Add", x, inner))
    pooled = graph.node("ReduceMean", x, axes=[1], keepdims=0)
    graph.output(graph.gemm(graph.node("Tanh", graph.gemm(pooled, 32, 12)), 12, 10), (BATCH, 10))
    return graph.build()


def _norm(graph: GraphBuilder, x: str) -> str:
    mean = graph.node("ReduceMean", x, axes=[-1], keepdims=1)
    centred = graph.node("Sub", x, mean)
    squared = graph.node("Pow", centred, graph.constant(np.float32(2)))
    variance = graph.node("ReduceMean", squared, axes=[-1], keepdims=1)
    root = graph.node("Sqrt", graph.node("Add", variance, graph.constant(np.float32(1e-5))))
    scale, shift = graph.weight(32, scale=0.2, shift=1.0), graph.weight(32, scale=0.3)
    scaled = graph.node("Mul", graph.node("Div", centred, root), scale)
    return graph.node("Add", scaled, shift)


def convolutions(opset: int) -> onnx.ModelProto:
    graph = GraphBuilder("convolutions", seed=opset, opset=opset)
    y = graph.relu(graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 16))
    inner = graph.relu(graph.conv(y, 16, 24))
    y = graph.relu(graph.node("Add", graph.conv(inner, 24, 16), y))
    y = graph.node("LeakyRelu", graph.conv(y, 16, 16, groups=16), alpha=0.1)
    graph.classify(y, 16)
    return graph.build()


def fused(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(folder / "fused.onnx")


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def check(analysis: Analysis, seed: int) -> None:
    solution = random_solution(analysis, seed)
    cut = shrink(analysis, solution)
    prove(
        mask(analysis, solution),
        cut,
        original=analysis.loaded.model,
        shapes=analysis.effects(nothing_removed(analysis)).shapes,
        keep=analysis.effects(solution).keep,
    )
    again = analysis_of(cut)
    assert again.macs(nothing_removed(again)) == analysis.macs(solution)
    assert again.parameters(nothing_removed(again)) == analysis.parameters(solution)


def units(analysis: Analysis, kind: GroupKind) -> list[int]:
    return sorted(group.units for group in analysis.space.groups if group.kind is kind)


@pytest.mark.parametrize("opset", [12, 14, 17])
def test_a_fused_encoder_is_cut_as_far_as_the_plain_one(opset: int, tmp_path: Path) -> None:
    """LayerNormalization stands in the standard domain, even at opsets that had none."""
    plain = encoder(opset)
    model = fused(plain, tmp_path)
    expected = {"LayerNormalization", "SkipLayerNormalization", "BiasGelu", "FusedMatMul"}
    assert len(operators(model) & expected) >= 3
    analysis, before = analysis_of(model), analysis_of(plain)
    for kind in (GroupKind.CHANNEL, GroupKind.HEAD):
        assert units(analysis, kind) == units(before, kind)
    for seed in SEEDS:
        check(analysis, seed)


def test_fused_convolutions_are_cut_as_far_as_the_plain_ones(tmp_path: Path) -> None:
    plain = convolutions(17)
    model = fused(plain, tmp_path)
    assert "FusedConv" in operators(model)
    analysis = analysis_of(model)
    assert units(analysis, GroupKind.CHANNEL) == units(analysis_of(plain), GroupKind.CHANNEL)
    for seed in SEEDS:
        check(analysis, seed)


@pytest.mark.parametrize("opset", [13, 17])
def test_a_simplified_norm_of_the_standard_domain_is_masked(opset: int) -> None:
    graph = GraphBuilder("simplified", seed=opset, opset=opset)
    x = graph.linear(graph.input((BATCH, 8, 16)), 16, 32)
    scale = graph.weight(32, scale=0.2, shift=1.0)
    # the checker knows no such operator: it is put in behind it
    y = graph.node("Mul", x, scale)
    y = graph.node("Add", y, graph.linear(graph.relu(graph.linear(y, 32, 24)), 24, 32))
    pooled = graph.node("ReduceMean", y, axes=[1], keepdims=0)
    graph.output(graph.gemm(pooled, 32, 10), (BATCH, 10))
    model = graph.build()
    node = next(node for node in model.graph.node if node.op_type == "Mul")
    node.op_type = "SimplifiedLayerNormalization"
    node.attribute.extend([onnx.helper.make_attribute("axis", -1)])
    node.output.append("inverse")
    analysis = analysis_of(model)
    assert units(analysis, GroupKind.CHANNEL) == [24, 32]
    assert [g.masked for g in analysis.space.groups if g.units == 32] == [True]
    for seed in SEEDS:
        check(analysis, seed)
