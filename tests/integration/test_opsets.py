"""Every opset from 7 to the newest: the forms that operators had in it, cut and proved.

One network of convolutions and one of tokens; each uses what its opset offers and states operands
as that opset wants them (attribute or input).
"""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from exporters.masked import mask
from exporters.surgeon import shrink
from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution
from graph_analysis.testing.builder import BATCH, GraphBuilder
from tests.integration.golden import (
    analysis_of,
    assert_equal,
    feeds_of,
    nothing_removed,
    random_solution,
)
from tests.integration.test_masked_equals_cut import check

NEWEST = onnx.defs.onnx_opset_version()
RUN = 26  # the last one that ONNX Runtime 1.32 opens; beyond it the reference evaluator runs
OPSETS = range(7, NEWEST + 1)
SEEDS = range(3)
ROTARY = 10.0 ** -np.arange(4)


class Opset(GraphBuilder):
    """Layers in the form of one opset."""

    def __init__(self, name: str, opset: int) -> None:
        super().__init__(name, seed=opset, opset=opset)
        self.opset = opset

    def stated(
        self, op_type: str, x: str, since: int, name: str, values: Any, **attributes: Any
    ) -> str:
        """An operand that was an attribute before opset ``since``."""
        if self.opset < since:
            return self.node(op_type, x, **{name: values}, **attributes)
        return self.node(op_type, x, self.constant(values), **attributes)

    def clip(self, x: str) -> str:
        if self.opset < 11:
            return self.node("Clip", x, min=0.0, max=6.0)
        return self.node("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def dropout(self, x: str) -> str:
        if self.opset < 12:
            return self.node("Dropout", x, ratio=0.3)
        return self.node("Dropout", x, self.constant(np.float32(0.3)))

    def twice(self, x: str) -> str:
        scales = [1.0, 1.0, 2.0, 2.0]
        if self.opset < 9:
            return self.node("Upsample", x, scales=scales)
        given = self.constant(np.float32(scales))
        if self.opset < 11:
            return self.node("Upsample" if self.opset == 9 else "Resize", x, given)
        region = "" if self.opset > 12 else self.constant(np.float32([]))
        return self.node("Resize", x, region, given)

    def padded(self, x: str) -> str:
        if self.opset < 18:
            return self.stated("Pad", x, 11, "pads", [0, 0, 1, 1, 0, 0, 1, 1])
        pads, axes = self.constant([1, 1, 1, 1]), self.constant([2, 3])
        return self.node("Pad", x, pads, "", axes)

    def halves(self, x: str) -> tuple[str, ...]:
        if self.opset < 13:
            return self.nodes("Split", x, outputs=2, axis=1, split=[6, 10])
        if self.opset < 18:
            return self.nodes("Split", x, self.constant([6, 10]), outputs=2, axis=1)
        return self.nodes("Split", x, outputs=2, axis=1, num_outputs=2)

    def group_norm(self, x: str, channels: int) -> str:
        if self.opset < 21:
            return self.batch_norm(x, channels)
        scale, bias = self.weight(channels, scale=0.2, shift=1.0), self.weight(channels)
        return self.node("GroupNormalization", x, scale, bias, num_groups=4)

    def some(self, x: str, start: int, end: int) -> str:
        if self.opset < 10:
            return self.node("Slice", x, axes=[1], starts=[start], ends=[end])
        return self.slice(x, [1], [start], ends=[end])

    def pooled(self, x: str) -> str:
        y = self.stated("ReduceMean", x, 18, "axes", [2, 3], keepdims=1)
        return self.stated("Squeeze", y, 13, "axes", [2, 3])


def convolutions(opset: int) -> onnx.ModelProto:
    graph = Opset("convolutions", opset)
    x = graph.input((BATCH, 3, 8, 8))
    y = graph.clip(graph.batch_norm(graph.conv(x, 3, 16), 16))
    first, second = graph.halves(y)
    widths = (8, 8) if opset >= 18 else (6, 10)
    first, second = (
        graph.relu(graph.conv(part, width, 12))
        for part, width in zip((first, second), widths, strict=True)
    )
    y = graph.node("Concat", graph.node("Add", first, second), second, axis=1)
    y = graph.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = graph.padded(graph.twice(graph.dropout(y)))
    y = graph.relu(graph.group_norm(graph.conv(y, 24, 16), 16))
    first, second = graph.some(y, 0, 7), graph.some(y, 7, 16)
    y = graph.node("Sum", graph.conv(first, 7, 20), graph.conv(second, 9, 20))
    y = graph.node("PRelu", y, graph.weight(20, 1, 1))
    graph.output(graph.gemm(graph.pooled(y), 20, 10), (BATCH, 10))
    return graph.build()


class Tokens(Opset):
    """Layers of a transformer in the form of one opset."""

    def norm(self, x: str, width: int) -> str:
        scale, bias = self.weight(width, scale=0.2, shift=1.0), self.weight(width, scale=0.2)
        if self.opset >= 23:
            return self.node("RMSNormalization", x, scale)
        if self.opset >= 17:
            return self.node("LayerNormalization", x, scale, bias)
        mean = self.node("ReduceMean", x, axes=[-1] if self.opset >= 11 else [2], keepdims=1)
        centred = self.node("Sub", x, mean)
        squared = self.node("Pow", centred, self.constant(np.float32(2)))
        variance = self.node("ReduceMean", squared, axes=[2], keepdims=1)
        root = self.node("Sqrt", self.node("Add", variance, self.constant(np.float32(1e-5))))
        return self.node("Add", self.node("Mul", self.node("Div", centred, root), scale), bias)

    def heads(self, x: str) -> str:
        y = self.reshape(self.linear(x, 32, 32), [0, 8, 4, 8])
        return self.transpose(y, [0, 2, 1, 3])

    def attend(self, x: str) -> str:
        query, key, value = (self.heads(x) for _ in range(3))
        if self.opset >= 23:
            angles = np.arange(8)[:, None] * ROTARY
            caches = [self.constant(np.float32(turn(angles))) for turn in (np.cos, np.sin)]
            batch = self.node("Shape", x, start=0, end=1)
            target = self.node("Concat", batch, self.constant([8]), axis=0)
            places = self.node("Expand", self.constant([np.arange(8).tolist()]), target)
            query, key = (
                self.node("RotaryEmbedding", part, *caches, places) for part in (query, key)
            )
            return self.node("Attention", query, key, value, self.weight(1, 4, 8, 8))
        if self.opset >= 12:
            scores = self.node("Einsum", query, key, equation="bhnd,bhmd->bhnm")
        else:
            scores = self.node("MatMul", query, self.transpose(key, [0, 1, 3, 2]))
        scores = self.node("Mul", scores, self.constant(np.float32(8**-0.5)))
        return self.node("MatMul", self.node("Softmax", scores, axis=3), value)

    def active(self, x: str) -> str:
        if self.opset == 24:  # ONNX Runtime 1.32 has no kernel for it in later ones
            return self.node("Swish", x)
        if self.opset >= 20:
            return self.node("Gelu", x)
        if self.opset >= 14:
            return self.node("HardSwish", x)
        return self.node("Mul", x, self.node("Sigmoid", x))

    def sum_of_tokens(self, x: str) -> str:
        return self.stated("ReduceSum", x, 13, "axes", [1], keepdims=0)


def tokens(opset: int) -> onnx.ModelProto:
    graph = Tokens("tokens", opset)
    x = graph.linear(graph.input((BATCH, 8, 16)), 16, 32)
    mixed = graph.transpose(graph.attend(graph.norm(x, 32)), [0, 2, 1, 3])
    x = graph.node("Add", x, graph.linear(graph.reshape(mixed, [0, 0, 32]), 32, 32))
    inner = graph.active(graph.linear(graph.norm(x, 32), 32, 48))
    x = graph.node("Add", x, graph.linear(inner, 48, 32))
    gate = graph.stated("Unsqueeze", graph.sum_of_tokens(x), 13, "axes", [1])
    x = graph.node("Mul", x, graph.node("Sigmoid", graph.linear(gate, 32, 32)))
    y = graph.gemm(graph.sum_of_tokens(x), 32, 12)
    graph.output(graph.gemm(graph.node("Softmax", y, axis=1), 12, 10), (BATCH, 10))
    return graph.build()


def group_norm(opset: int) -> onnx.ModelProto:
    """Scale and bias per channel, before opset 21 per group."""
    graph = Opset("group_norm", 21)
    y = graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 16)
    scale, bias = graph.weight(16, scale=0.2, shift=1.0), graph.weight(16)
    y = graph.relu(graph.node("GroupNormalization", y, scale, bias, num_groups=4))
    graph.classify(y, 16)
    model = graph.build()
    model.opset_import[0].version = opset
    for tensor in model.graph.initializer if opset < 21 else ():
        if tensor.name in (scale, bias):
            values = numpy_helper.to_array(tensor)[:4]
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def check_cut(analysis: Analysis, solution: Solution) -> None:
    """As ``check``, by the reference evaluator where ONNX Runtime is too old."""
    if analysis.graph.opset <= RUN:
        check(analysis, solution)
        return
    cut, masked = shrink(analysis, solution), mask(analysis, solution)
    onnx.checker.check_model(cut, full_check=True)
    feeds = feeds_of(masked, 2)
    with np.errstate(divide="ignore"):  # the logarithm of a mask that is 0
        expected, found = (ReferenceEvaluator(one).run(None, feeds)[0] for one in (masked, cut))
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()
    again = analysis_of(cut)
    assert again.macs(nothing_removed(again)) == analysis.macs(solution)


def units(analysis: Analysis, *kinds: str) -> list[int]:
    return sorted(g.units for g in analysis.space.groups if g.kind.value in kinds)


@pytest.mark.parametrize("opset", OPSETS)
def test_convolutions_are_cut_in_every_opset(opset: int) -> None:
    analysis = analysis_of(convolutions(opset))
    onnx.checker.check_model(analysis.loaded.model, full_check=True)
    halves = [6, 10] if opset < 18 else [8, 8]
    behind = [7, 9] if opset < 21 else [2]  # parts of a Slice; normalised in groups of four
    assert units(analysis, "channel") == sorted([*halves, *behind, 12, 20])
    for seed in SEEDS:
        check_cut(analysis, random_solution(analysis, seed))


@pytest.mark.parametrize("opset", OPSETS)
def test_tokens_are_cut_in_every_opset(opset: int) -> None:
    analysis = analysis_of(tokens(opset))
    onnx.checker.check_model(analysis.loaded.model, full_check=True)
    assert units(analysis, "head") == [4]
    assert units(analysis, "channel") == [12, 32, 48]
    for seed in SEEDS:
        check_cut(analysis, random_solution(analysis, seed))


@pytest.mark.parametrize("opset", [18, 20, 21])
def test_group_normalisation_loses_whole_groups_in_either_form(opset: int) -> None:
    """Of opset 18 the checker says that it is deprecated, so the file is only run."""
    analysis = analysis_of(group_norm(opset))
    assert units(analysis, "channel") == [4]
    for seed in SEEDS:
        solution = random_solution(analysis, seed)
        assert_equal(mask(analysis, solution), shrink(analysis, solution), solution.to_json())
