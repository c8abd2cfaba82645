"""What counts as a parameter: weights, and not what operators are set with."""

import numpy as np
import onnx
import pytest

from graph_analysis import Analysis, analyze, load_model
from graph_analysis.testing import BATCH, GraphBuilder


def analysed(model: onnx.ModelProto) -> Analysis:
    return analyze(load_model(model.SerializeToString()))


def resized(*, is_split: bool, reads_scale: bool = False) -> Analysis:
    """A convolution and a Resize whose scales are one constant, or two behind a Concat."""
    graph = GraphBuilder("resized", seed=1)
    x = graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 4)
    kept = graph.constant(np.ones(2, np.float32) if is_split else np.ones(4, np.float32))
    scales = kept
    if is_split:
        scales = graph.node("Concat", kept, graph.constant(np.full(2, 2.0, np.float32)), axis=0)
    x = graph.node("Resize", x, "", scales, mode="nearest")
    if reads_scale:  # now two of the numbers meet data as well
        x = graph.node("MatMul", x, graph.constant(np.ones((16, 2), np.float32)))
        x = graph.node("Mul", x, kept)
    graph.classify(x, 4)
    return analysed(graph.build())


def test_parts_of_a_scale_are_no_parameters() -> None:
    assert (
        resized(is_split=True).space.model.parameters
        == resized(is_split=False).space.model.parameters
    )


def test_what_is_also_multiplied_with_data_is_one() -> None:
    analysis = resized(is_split=True, reads_scale=True)
    sizes = sorted(
        int(np.prod(analysis.graph.initializers[name].dims)) for name in analysis.costs.parameters
    )
    assert sizes.count(2) == 1


@pytest.mark.parametrize("is_split", [True, False])
def test_no_part_of_a_scale_is_a_unit(is_split: bool) -> None:
    """Two numbers behind a Concat look like two channels, and a Resize without one fails."""
    analysis = resized(is_split=is_split)
    touched = {s.initializer for g in analysis.space.groups for s in (*g.zero, *g.cut)}
    scales = {n for n, t in analysis.graph.initializers.items() if list(t.dims) in ([2], [4])}
    assert len(scales & touched) == 1  # the bias of the convolution alone
