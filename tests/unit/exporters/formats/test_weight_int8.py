"""INT8 weights: a quarter of the bytes, scales of the output channels, an error that is bounded."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporters.formats import check_format, to_int8_weights
from exporters.formats.weight_int8 import channel_axes, quantised
from exporters.sessions import open_session, run
from graph_analysis.errors import InputError
from graph_analysis.testing import BATCH, GraphBuilder
from tests.unit.exporters.formats.networks import convolutions, images, perceptron


@given(
    arrays(np.float32, (4, 6), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from([0, 1]),
)
def test_the_error_is_at_most_half_a_step(values: np.ndarray, axis: int) -> None:
    whole, scale = quantised(values, axis)
    steps = scale[:, None] if axis == 0 else scale[None, :]
    error = np.abs(values.astype(np.float64) - whole.astype(np.float64) * steps)
    assert (error <= 0.5001 * steps + 1e-30).all()
    assert whole.min(initial=0) >= -127
    largest = np.abs(values).max(axis=1 - axis)
    some = largest > 1e-30
    np.testing.assert_allclose(scale[some], largest[some] / 127, rtol=1e-6)


def test_channels_of_zeros_and_of_the_smallest_numbers_stay_finite() -> None:
    whole, scale = quantised(np.array([[0.0, 0.0], [1e-45, 0.0]], np.float32), 0)
    assert not whole.any()
    assert (scale > 0).all()


def test_the_file_holds_the_integers_and_runs_to_the_weights_rounding() -> None:
    model = convolutions()
    small = to_int8_weights(model)
    floats = sum(t.ByteSize() for t in model.graph.initializer if np.prod(t.dims) >= 1024)
    saved = model.ByteSize() - small.ByteSize()
    assert saved > 0.6 * floats
    onnx.checker.check_model(small, full_check=True)
    (figures,) = check_format(model, small)
    assert 0 < figures.relative < 0.05
    assert list(small.graph.input) == list(model.graph.input)


def test_it_computes_what_the_rounded_weights_compute() -> None:
    model = convolutions()
    axes = channel_axes(model)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        if tensor.name in axes:
            values = onnx.numpy_helper.to_array(tensor)
            whole, scale = quantised(values, axes[tensor.name])
            shape = [-1 if axis == axes[tensor.name] else 1 for axis in range(values.ndim)]
            again = whole.astype(np.float32) * scale.reshape(shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(again, tensor.name))
    feeds = {"x": images(4)}
    expected = run(open_session(rounded), feeds)
    found = run(open_session(to_int8_weights(model)), feeds)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


def test_scales_go_along_the_output_channels() -> None:
    graph = GraphBuilder("axes")
    x = graph.conv(graph.input((BATCH, 8, 6, 6)), 8, 16)
    x = graph.conv_transpose(x, 16, 32)
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    x = graph.linear(pooled, 32, 40)
    x = graph.node("MatMul", x, graph.node("Transpose", graph.weight(48, 40), perm=[1, 0]))
    graph.output(graph.node("Gemm", x, graph.weight(30, 48), transB=1), (BATCH, 30))
    model = graph.build()
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    found = {shapes[name]: axis for name, axis in channel_axes(model).items()}
    assert {shape[:2]: axis for shape, axis in found.items()} == {
        (16, 8): 0,
        (16, 32): 1,
        (32, 40): 1,
        (48, 40): 0,
        (30, 48): 0,
    }


def test_recurrences_are_stored_so_too() -> None:
    graph = GraphBuilder("lstm")
    weights = graph.weight(1, 128, 16, scale=0.2), graph.weight(1, 128, 32, scale=0.2)
    x = graph.input((5, BATCH, 16))
    _, hidden, _ = graph.nodes("LSTM", x, *weights, outputs=3, hidden_size=32)
    graph.output(hidden, (1, BATCH, 32))
    model = graph.build()
    assert channel_axes(model) == {weights[0]: 1, weights[1]: 1}
    (figures,) = check_format(model, to_int8_weights(model))
    assert 0 < figures.relative < 0.02


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(InputError, match="needs opset 13, the model has 11") as caught:
        to_int8_weights(convolutions(opset=11))
    assert caught.value.code == "export-unsupported"
    graph = GraphBuilder("none")
    graph.output(graph.relu(graph.input((BATCH, 3))), (BATCH, 3))
    with pytest.raises(InputError, match="no float32 weights of a thousand values"):
        to_int8_weights(graph.build())
    with pytest.raises(InputError, match="quantised already"):
        to_int8_weights(to_int8_weights(perceptron()))
