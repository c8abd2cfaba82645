"""float16: half the bytes, the same interface, close to the float model."""

import numpy as np
import onnx
import pytest

from exporters.formats import check_format, to_float16
from graph_analysis.errors import InputError
from graph_analysis.testing import HARD_CASES, GraphBuilder
from tests.unit.exporters.formats.networks import convolutions, perceptron


@pytest.mark.parametrize("model", [convolutions(), perceptron()], ids=["conv", "mlp"])
def test_it_is_half_the_size_and_close(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    half = to_float16(model)
    assert model.SerializeToString() == before
    kinds = {tensor.data_type for tensor in half.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16}
    (figures,) = check_format(model, half)
    assert 0 < figures.relative < 5e-3
    assert figures.top1 == 1.0


def test_the_interface_and_the_users_words_stay() -> None:
    model = convolutions()
    half = to_float16(model)
    assert list(half.graph.input) == list(model.graph.input)
    assert list(half.graph.output) == list(model.graph.output)
    assert half.opset_import == model.opset_import
    assert half.metadata_props == model.metadata_props
    assert (half.doc_string, half.domain, half.model_version) == (
        model.doc_string,
        model.domain,
        model.model_version,
    )
    assert half.producer_name == "secateur-testing"
    assert half.graph.doc_string == "of the graph"


def test_nodes_are_in_the_order_that_the_standard_asks_for() -> None:
    onnx.checker.check_model(to_float16(convolutions()), full_check=True)


def test_a_weight_that_float16_cannot_hold_is_refused_and_named() -> None:
    graph = GraphBuilder("large")
    x = graph.node("MatMul", graph.input((2, 8)), graph.weight(8, 8, scale=1e5))
    graph.output(x, (2, 8))
    with pytest.raises(InputError, match="float16 ends at 65504") as caught:
        to_float16(graph.build())
    assert caught.value.code == "export-unsupported"
    assert caught.value.param == "weight_0"


def test_what_fills_a_mask_may_be_clipped() -> None:
    graph = GraphBuilder("masked")
    lowest = float(np.finfo(np.float32).min)
    mask = graph.constant(np.where(np.tri(8) > 0, 0.0, lowest))
    graph.output(graph.node("Softmax", graph.node("Add", graph.input((2, 8, 8)), mask)), (2, 8, 8))
    model = graph.build()
    (figures,) = check_format(model, to_float16(model))
    assert figures.relative < 5e-3


def test_a_name_of_the_converters_own_is_refused_not_overwritten() -> None:
    model = convolutions()
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == model.graph.node[0].output[0]:
                    names[place] = "graph_input_cast_0"
    model.graph.node[0].output[0] = "graph_input_cast_0"
    with pytest.raises(InputError, match="no float16 file can be made"):
        to_float16(model)


def test_a_file_that_ends_onnx_runtime_is_refused_by_a_process_of_its_own() -> None:
    with pytest.raises(InputError, match=r"ONNX Runtime (crashes while it loads|does not load)"):
        to_float16(HARD_CASES["lstm_1layer"]())


def test_what_is_half_already_or_double_is_refused() -> None:
    half = to_float16(convolutions())
    with pytest.raises(InputError, match="half precision already"):
        to_float16(half)
    double = convolutions()
    weight = double.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight).astype(np.float64)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    with pytest.raises(InputError, match="is float64"):
        to_float16(double)
