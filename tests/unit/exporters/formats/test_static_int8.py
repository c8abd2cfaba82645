"""Static INT8: scales per channel, one batch at a time, nothing left on the disk."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters.formats import check_format, to_int8
from exporters.formats.static_int8 import quantised_operators
from exporters.samples import bound_shapes, input_specs, random_feeds
from exporters.sessions import Feeds
from graph_analysis.errors import InputError
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder
from tests.unit.exporters.formats.networks import convolutions, images


def batches(count: int = 4) -> Iterator[Feeds]:
    for seed in range(count):
        yield {"x": images(8, seed)}


def test_it_is_close_on_what_it_was_calibrated_on_and_smaller() -> None:
    model = convolutions()
    small = to_int8(model, batches())
    (_, real) = check_format(model, small, inputs={"x": images(8)})
    assert 0 < real.relative < 0.1
    assert real.top1 is not None
    assert real.top1 > 0.7
    kinds = [node.op_type for node in small.graph.node]
    assert "QuantizeLinear" in kinds
    assert "BatchNormalization" not in kinds  # folded before: left alone it would stay float


def test_weights_have_a_scale_per_channel() -> None:
    small = to_int8(convolutions(), batches())
    scales = [t for t in small.graph.initializer if t.name.endswith("_scale") and t.dims]
    assert {tuple(tensor.dims) for tensor in scales} >= {(16,), (24,), (10,)}


def test_the_interface_and_the_users_words_stay() -> None:
    model = convolutions()
    small = to_int8(model, batches())
    assert list(small.graph.input) == list(model.graph.input)
    assert list(small.graph.output) == list(model.graph.output)
    assert small.opset_import == model.opset_import
    assert small.metadata_props == model.metadata_props
    assert small.producer_name == "secateur-testing"


def test_batches_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []

    def counted() -> Iterator[Feeds]:
        for number, batch in enumerate(batches()):
            alive.append(number)
            yield batch

    to_int8(convolutions(), counted())
    assert alive == [0, 1, 2, 3]


def test_nothing_is_left_on_the_disk_or_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    to_int8(convolutions(), batches())
    assert [path.name for path in tmp_path.rglob("*")] in (
        ["temporary", "here"],
        ["here", "temporary"],
    )
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().level == level
    assert capfd.readouterr().err == ""


def test_normalised_networks_only_have_their_products_quantised() -> None:
    assert "Add" in quantised_operators(convolutions())
    assert quantised_operators(HARD_CASES["fused_qkv"]()) == ("Conv", "Gemm", "MatMul")


def test_a_softmax_at_the_end_is_no_attention() -> None:
    graph = GraphBuilder("probabilities")
    graph.output(graph.node("Softmax", graph.gemm(graph.input((BATCH, 8)), 8, 8)), (BATCH, 8))
    assert "Add" in quantised_operators(graph.build())


def test_products_behind_an_operator_without_types_stay_float() -> None:
    model = HARD_CASES["skip_layer_normalization"]()
    specs = input_specs(model)
    feeds = random_feeds(specs, bound_shapes(specs, batch=4), np.random.default_rng(0))
    (figures,) = check_format(model, to_int8(model, [feeds]))
    assert figures.relative < 0.3


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(InputError, match="needs opset 13, the model has 11"):
        to_int8(convolutions(opset=11), batches())
    graph = GraphBuilder("none")
    graph.output(graph.node("Exp", graph.input((BATCH, 3))), (BATCH, 3))
    with pytest.raises(InputError, match="none of its nodes is a Conv, Gemm or MatMul"):
        to_int8(graph.build(), iter([{"x": np.ones((2, 3), np.float32)}]))
    with pytest.raises(InputError, match="the converter stopped"):
        to_int8(convolutions(), iter([{"wrong": images(2)}]))


def test_a_graph_that_is_quantised_already_is_refused() -> None:
    small = to_int8(convolutions(), batches())
    assert isinstance(small, onnx.ModelProto)
    with pytest.raises(InputError, match="quantised already"):
        to_int8(small, batches())
