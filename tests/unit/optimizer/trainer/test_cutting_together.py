"""Cutting beside settings that change what runs, or what the weights begin with."""

import numpy as np
import onnx
import pytest

from graph_analysis.testing import GraphBuilder
from optimizer.errors import InputError
from optimizer.trainer import Arrays
from tests.unit.optimizer.trainer import test_cutting
from tests.unit.optimizer.trainer.test_cutting import ROUNDING, Run

CLASSES = 10


def labelled(shape: list[int], count: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, *shape)).astype(np.float32)
    return Arrays(inputs={"x": x}, labels=rng.integers(0, CLASSES, count))


@pytest.mark.parametrize("name", ["residual_normalised", "dense_block", "if_conv_chains"])
def test_what_a_cut_module_calls_can_be_computed_again(name: str) -> None:
    cut = Run(name, checkpointing=3)
    whole = Run(name, checkpointing=3, cut_during_training=False)
    assert [code for code in cut.codes if code != "renormalised"] == ["cut", "cut"]
    assert np.allclose(cut.losses, whole.losses, rtol=ROUNDING, atol=ROUNDING * max(whole.losses))


def sample_by_sample() -> onnx.ModelProto:
    """A matrix of all of a sample, transposed, linear, relu, linear: the batch is lost in it."""
    graph = GraphBuilder("sample_by_sample", seed=3)
    matrix = graph.reshape(graph.input((1, 8)), [4, 2])
    y = graph.reshape(graph.transpose(matrix, [1, 0]), [1, 8])
    y = graph.relu(graph.linear(graph.relu(graph.linear(y, 8, 16)), 16, 12))
    graph.output(graph.gemm(y, 12, 5), (1, 5))
    return graph.build()


def test_what_runs_sample_by_sample_is_cut_and_not_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(test_cutting.NETWORKS, "sample_by_sample", sample_by_sample)
    assert Run("sample_by_sample", accumulate=2, ema_decay=0.9).codes == ["cut", "cut"]
    with pytest.raises(InputError, match="checkpointing must be 1") as caught:
        Run("sample_by_sample", checkpointing=2)
    assert caught.value.param == "checkpointing"


def test_statistics_that_begin_anew_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_cutting, "samples", labelled)
    settings = {"start": "scratch", "loss": "cross-entropy"}
    cut = Run("residual_normalised", **settings)
    whole = Run("residual_normalised", **settings, cut_during_training=False)
    assert cut.codes == ["from-scratch", "cut", "cut"]
    assert np.allclose(cut.losses, whole.losses, rtol=ROUNDING, atol=ROUNDING * max(whole.losses))
