"""The comparison of an export with its float model: what it counts, and what it refuses."""

import numpy as np
import onnx
import pytest

from exporters.errors import FormatError
from exporters.formats import check_exact, check_format
from exporters.formats.checking import EXACT, FormatFigures
from graph_analysis.testing import BATCH, GraphBuilder
from tests.unit.exporters.formats.networks import convolutions, images


def changed(model: onnx.ModelProto, factor: float, name: str = "") -> onnx.ModelProto:
    """The model with one weight (the last one) multiplied."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensor = next(
        (t for t in result.graph.initializer if t.name == name), result.graph.initializer[-1]
    )
    values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return result


def test_the_same_model_differs_by_nothing() -> None:
    figures = check_format(convolutions(), convolutions(), inputs={"x": images(37)})
    assert [(entry.source, entry.samples) for entry in figures] == [("random", 24), ("real", 37)]
    assert all(entry.max_difference == entry.rms == 0 for entry in figures)
    assert all(entry.top1 == entry.agreement == 1 for entry in figures)
    check_exact(figures, EXACT)


def test_the_figures_are_those_of_the_outputs() -> None:
    graph = GraphBuilder("scaled")
    graph.output(graph.node("Mul", graph.input((BATCH, 4)), graph.constant(2.0)), (BATCH, 4))
    model = graph.build()
    other = changed(model, 1.5)  # 3 x instead of 2 x
    x = np.array([[1, 0, 0, 0], [0, -4, 0, 0], [0, 0, 2, 0]], np.float32)
    (_, real) = check_format(model, other, inputs={"x": x})
    assert real.max_difference == 4.0
    assert real.scale == 8.0
    assert real.relative == 0.5
    assert real.rms == pytest.approx(0.5)
    assert real.top1 == 1.0
    with pytest.raises(FormatError, match=r"differs in output .* by 0\.5 of its largest value"):
        check_exact((real,), EXACT)


def test_a_tie_may_go_either_way_another_choice_not() -> None:
    graph = GraphBuilder("shifted")
    shift = graph.constant([0.0, 0.0005, 0.0, 0.2])
    graph.output(graph.node("Add", graph.input((BATCH, 4)), shift), (BATCH, 4))
    model = graph.build()
    x = np.array([[1, 1, 0, 0], [0, 0, 1, 0.7]], np.float32)
    for factor, agreeing in ((0.0, 1.0), (2.0, 0.5), (1.0, 1.0)):
        (_, real) = check_format(model, changed(model, factor), inputs={"x": x})
        assert real.top1 == agreeing


def test_a_short_last_batch_and_a_fixed_one_are_compared_whole() -> None:
    model = convolutions(batch=4)
    (_, real) = check_format(model, model, inputs={"x": images(6)})
    assert real.samples == 8  # the last two are repeated to fill the file's batch
    (_, real) = check_format(convolutions(), convolutions(), inputs={"x": images(33)}, batch_size=8)
    assert real.samples == 33


def test_an_export_that_is_not_finite_is_refused() -> None:
    model = convolutions()
    with pytest.raises(FormatError, match="is not finite on random samples"):
        check_format(model, changed(model, np.inf))


def test_an_export_that_does_not_load_or_run_is_refused() -> None:
    model = convolutions()
    with pytest.raises(FormatError, match="does not load"):
        check_format(model, b"no model")
    other = convolutions(batch=2)
    with pytest.raises(FormatError, match="does not run"):
        check_format(model, other)


def test_integers_are_counted_and_other_shapes_are_infinitely_far() -> None:
    graph = GraphBuilder("choice")
    x = graph.node("ArgMax", graph.input((BATCH, 4)), axis=1, keepdims=0)
    graph.output(graph.node("Cast", x, to=onnx.TensorProto.FLOAT), (BATCH,))
    model = graph.build()
    cast = model.graph.node.pop()
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info(cast.input[0], onnx.TensorProto.INT64, [BATCH])
    )
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.graph.node[0].op_type = "ArgMin"
    (_, real) = check_format(model, other, inputs={"x": np.eye(4, dtype=np.float32)})
    assert real.changed == 1.0
    assert real.agreement == 0.0
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    next(a for a in wide.graph.node[0].attribute if a.name == "keepdims").i = 1
    wide.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1
    (_, real) = check_format(model, wide, inputs={"x": np.eye(4, dtype=np.float32)})
    assert real.changed == 1.0


def test_agreement_without_scores_is_of_values() -> None:
    figures = FormatFigures(source="real", samples=3, rms=0.02, relative=0.1)
    assert figures.agreement == pytest.approx(0.98)
    assert FormatFigures(source="real", samples=3, rms=7.0).agreement == 0.0


def test_infinite_figures_become_json() -> None:
    assert FormatFigures(source="real", samples=1, rms=np.inf).to_dict()["rms"] is None
