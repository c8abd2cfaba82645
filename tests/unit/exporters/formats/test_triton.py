"""Triton's configuration says what the file says, and batches only what follows the batch."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from exporters.formats.triton import ServedTensor, described, served, triton_config
from graph_analysis.errors import InputError
from graph_analysis.testing import BATCH, GraphBuilder
from tests.unit.exporters.formats.networks import convolutions, perceptron


def test_a_free_batch_is_left_out_of_the_lengths_and_batched() -> None:
    assert triton_config("net", served(convolutions())) == (
        'name: "net"\nbackend: "onnxruntime"\nmax_batch_size: 32\n'
        'input [\n  {\n    name: "x"\n    data_type: TYPE_FP32\n    dims: [ 3, 12, 12 ]\n  }\n]\n'
        f'output [\n  {{\n    name: "{convolutions().graph.output[0].name}"\n'
        "    data_type: TYPE_FP32\n    dims: [ 10 ]\n  }\n]\ndynamic_batching { }\n"
    )


def test_a_fixed_batch_stays_in_the_lengths() -> None:
    text = triton_config("net", served(convolutions(batch=4)))
    assert "max_batch_size: 0" in text
    assert "dims: [ 4, 3, 12, 12 ]" in text
    assert "dims: [ 4, 10 ]" in text
    assert "dynamic_batching" not in text


def test_several_inputs_are_separated_by_commas() -> None:
    text = triton_config("net", served(perceptron()))
    assert text.count("  },\n  {\n") == 1
    assert '"x"' in text
    assert '"y"' in text


def test_an_output_that_does_not_follow_the_batch_prevents_batching() -> None:
    graph = GraphBuilder("mean")
    x = graph.input((BATCH, 3, 4))
    graph.output(graph.relu(x), (BATCH, 3, 4))
    graph.output(graph.node("ReduceMean", x, axes=[0], keepdims=1), ("M", 3, 4))
    found = served(graph.build())
    assert not found.is_batched
    assert "dims: [ -1, 3, 4 ]" in triton_config("net", found)


def test_free_lengths_and_scalars_per_sample() -> None:
    graph = GraphBuilder("text")
    x = graph.input((BATCH, "length"), dtype=TensorProto.INT64)
    floats = graph.node("Cast", x, to=TensorProto.FLOAT)
    graph.output(graph.node("ReduceSum", floats, graph.constant([1]), keepdims=0), (BATCH,))
    found = served(graph.build())
    text = triton_config("net", found)
    assert found.is_batched
    assert "TYPE_INT64\n    dims: [ -1 ]\n  }" in text
    assert "dims: [ 1 ]\n    reshape { shape: [ ] }" in text
    assert described(found.inputs[0]) == "x: INT64 [any, any]"


def test_names_are_quoted() -> None:
    x = ServedTensor(name='a"b\\c', kind="FP32", shape=(-1, 2))
    found = served(convolutions())
    text = triton_config("net", type(found)(inputs=(x,), outputs=(), is_batched=True))
    assert r'name: "a\"b\\c"' in text


def test_real_samples_are_used_where_random_ones_do_not_run() -> None:
    graph = GraphBuilder("table")
    x = graph.input((BATCH,), dtype=TensorProto.INT64)
    shifted = graph.node("Sub", x, graph.integers([100], dtype="int64"))
    graph.output(graph.node("Gather", graph.weight(4, 3), shifted), (BATCH, 3))
    model = graph.build()
    with pytest.raises(InputError, match="does not run on its samples"):
        served(model)
    found = served(model, samples={"x": np.array([100, 103, 101, 102])})
    assert found.is_batched


def test_what_is_no_tensor_is_refused() -> None:
    graph = GraphBuilder("list")
    x = graph.node("SequenceConstruct", graph.input((BATCH, 3)))
    graph.output(graph.node("SequenceAt", x, graph.integers(0, dtype="int64")), (BATCH, 3))
    model = graph.build()
    model.graph.node.pop()
    inner = onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    model.graph.output[0].CopyFrom(
        onnx.helper.make_value_info(x, onnx.helper.make_sequence_type_proto(inner))
    )
    with pytest.raises(InputError, match="is no tensor that Triton knows"):
        served(model)
