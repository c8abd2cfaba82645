"""The masked form of operators with statistics: same values with all ones, true removal with zeros.

ONNX Runtime is not at hand in this package's tests; the onnx package's evaluator is.
"""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from graph_analysis.loading import load_model
from graph_analysis.masking import MASK_DOC, Gate, Mask, maskable
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder

X = np.random.default_rng(0).standard_normal((2, 6, 5)).astype(np.float32)
KEPT = [0, 1, 3, 4]
SCALE = np.linspace(0.5, 2, 5).astype(np.float32)

CASES = [
    ("ReduceMean", 17, {"axes": [1], "keepdims": 1}, 1, ()),
    ("ReduceMean", 17, {"axes": [1, 2], "keepdims": 0}, 1, ()),
    ("ReduceMean", 18, {"keepdims": 1}, 1, (np.array([1]),)),
    ("ReduceMean", 18, {"keepdims": 0}, 2, (np.array([1, 2]),)),
    ("ReduceSum", 17, {"keepdims": 1}, 1, (np.array([1]),)),
    ("ReduceSumSquare", 17, {"axes": [1]}, 1, ()),
    ("ReduceL1", 17, {"axes": [1]}, 1, ()),
    ("ReduceL2", 17, {"axes": [2]}, 2, ()),
    ("ReduceMax", 17, {"axes": [1], "keepdims": 0}, 1, ()),
    ("ReduceMin", 17, {"axes": [1]}, 1, ()),
    ("ReduceLogSumExp", 17, {"axes": [1]}, 1, ()),
    ("Softmax", 17, {"axis": 1}, 1, ()),
    ("Softmax", 11, {"axis": 1}, 2, ()),
    ("LayerNormalization", 17, {"axis": -1}, 2, (SCALE, SCALE - 1)),
    ("LayerNormalization", 20, {"axis": -1, "epsilon": 0.1}, 2, (SCALE,)),
    ("LayerNormalization", 17, {"axis": 1}, 1, (np.outer(np.arange(1, 7), SCALE),)),
    ("RMSNormalization", 23, {"axis": -1}, 2, (SCALE,)),
]


def model_of(
    op: str, opset: int, attributes: dict[str, Any], inputs: tuple[np.ndarray, ...], shape: Any
) -> onnx.ModelProto:
    names = [f"c{number}" for number in range(len(inputs))]
    node = helper.make_node(op, ["x", *names], ["y"], name="node", **attributes)
    values = [
        values if values.dtype == np.int64 else values.astype(np.float32) for values in inputs
    ]
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, n) for n, v in zip(names, values, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def evaluated(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def with_mask(model: onnx.ModelProto, axis: int, kept: list[int] | None) -> onnx.ModelProto:
    """The masked form; everything but ``kept`` removed along ``axis``."""
    length = X.shape[axis]
    mask = Mask(
        name="m",
        node="node",
        tensor="x",
        axis=axis,
        rank=3,
        length=length,
        dtype=TensorProto.FLOAT,
    )
    result = maskable(model, [mask])
    (found,) = [tensor for tensor in result.graph.initializer if tensor.name == "m"]
    assert found.doc_string == MASK_DOC
    values = numpy_helper.to_array(found).copy()
    if kept is not None:
        gone = [index for index in range(length) if index not in kept]
        values[(slice(None),) * axis + (gone,)] = 0
    found.CopyFrom(numpy_helper.from_array(values, "m"))
    return result


@pytest.mark.parametrize(("op", "opset", "attributes", "axis", "inputs"), CASES)
def test_with_all_ones_nothing_changes(
    op: str, opset: int, attributes: dict[str, Any], axis: int, inputs: tuple[np.ndarray, ...]
) -> None:
    model = model_of(op, opset, attributes, inputs, X.shape)
    before = model.SerializeToString()
    expected = evaluated(model, X)
    np.testing.assert_allclose(evaluated(with_mask(model, axis, None), X), expected, atol=1e-5)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(("op", "opset", "attributes", "axis", "inputs"), CASES)
def test_zeros_are_removal(
    op: str, opset: int, attributes: dict[str, Any], axis: int, inputs: tuple[np.ndarray, ...]
) -> None:
    kept = KEPT if axis == 1 else [0, 2, 3]
    small = np.take(X, kept, axis=axis)
    cut_inputs = tuple(
        values
        if values.dtype == np.int64
        else np.take(values, kept, axis=values.ndim - (X.ndim - axis))
        for values in inputs
    )
    expected = evaluated(model_of(op, opset, attributes, cut_inputs, small.shape), small)
    found = evaluated(with_mask(model_of(op, opset, attributes, inputs, X.shape), axis, kept), X)
    if found.shape != expected.shape:
        found = np.take(found, kept, axis=axis)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mean_and_deviation_of_a_layer_norm_are_there_too() -> None:
    model = model_of("LayerNormalization", 17, {"axis": -1}, (SCALE,), X.shape)
    model.graph.node[0].output.extend(["mean", "inverse"])
    for name in ("mean", "inverse"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    masked = with_mask(model, 2, [0, 2, 3])
    _, mean, inverse = (np.asarray(v) for v in ReferenceEvaluator(masked).run(None, {"x": X}))
    kept = X[:, :, [0, 2, 3]]
    np.testing.assert_allclose(mean, kept.mean(-1, keepdims=True), atol=1e-6)
    expected = 1 / np.sqrt(kept.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(inverse, expected, rtol=1e-5)


def test_two_masks_of_one_operator() -> None:
    model = model_of("ReduceMean", 17, {"axes": [1, 2]}, (), X.shape)
    masks = [
        Mask(
            name=f"m{axis}",
            node="node",
            tensor="x",
            axis=axis,
            rank=3,
            length=X.shape[axis],
            dtype=1,
        )
        for axis in (1, 2)
    ]
    result = maskable(model, masks)
    for tensor in result.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] = 0
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    expected = X[:, 1:, 1:].mean((1, 2), keepdims=True)
    np.testing.assert_allclose(evaluated(result, X), expected, atol=1e-6)


def test_without_masks_it_is_the_model() -> None:
    model = model_of("ReduceMean", 17, {"axes": [1]}, (), X.shape)
    assert maskable(model, []) == model


def masked_groups(case: str) -> tuple[Analysis, dict[int, int]]:
    """The analysis, and how many masked groups there are by number of units."""
    analysis = analyze(load_model(HARD_CASES[case]().SerializeToString()))
    sizes: dict[int, int] = {}
    for group in analysis.space.groups:
        if group.masked:
            assert group.masks
            sizes[group.units] = sizes.get(group.units, 0) + 1
    return analysis, sizes


@pytest.mark.parametrize(
    ("case", "sizes"),
    [
        ("layernorm_mlp", {32: 1}),
        ("softmax_over_channel", {32: 1}),
        ("cbam_mean_over_channel", {32: 1}),
        ("linear_on_4d_channels_last", {32: 1}),
        ("residual_add", {}),
    ],
)
def test_widths_under_a_normalisation_may_go(case: str, sizes: dict[int, int]) -> None:
    analysis, found = masked_groups(case)
    assert found == sizes
    assert bool(analysis.masks) == bool(sizes)


def test_only_the_masks_that_a_solution_needs_are_written() -> None:
    analysis, _ = masked_groups("layernorm_mlp")
    free = next(group for group in analysis.space.groups if not group.masked)
    masked = next(group for group in analysis.space.groups if group.masked)
    from graph_analysis.solution import Solution

    count = len(analysis.loaded.model.graph.initializer)
    for group, more in ((free, 0), (masked, len(masked.masks))):
        solution = Solution.of(analysis.space, {group.id: [0]})
        assert len(analysis.maskable(solution).graph.initializer) == count + more


def test_json_says_masked() -> None:
    analysis, _ = masked_groups("layernorm_mlp")
    entries = analysis.space.to_dict()["groups"]
    assert [entry["id"] for entry in entries if entry.get("masked")] == [
        group.id for group in analysis.space.groups if group.masked
    ]


def test_a_gate_is_a_factor_before_its_joints() -> None:
    """Open, the network is the same; closed, the joint reads zeros, and others what they did."""
    graph = GraphBuilder("gated")
    x = graph.input((BATCH, 4))
    y = graph.node("Add", x, graph.relu(x))
    graph.output(graph.node("Mul", y, x), (BATCH, 4))
    model = graph.build()
    gate = Gate(name="gate", edges=(("add_1", "x"),), dtype=onnx.TensorProto.FLOAT)
    masked = maskable(model, [gate])
    feeds = {"x": np.asarray([[1, -2, 3, 0.5]], np.float32)}
    assert np.array_equal(
        ReferenceEvaluator(masked).run(None, feeds)[0],
        ReferenceEvaluator(model).run(None, feeds)[0],
    )
    (factor,) = [t for t in masked.graph.initializer if t.name == "gate"]
    assert factor.doc_string == MASK_DOC
    factor.CopyFrom(numpy_helper.from_array(np.zeros(1, np.float32), "gate"))
    expected = np.maximum(feeds["x"], 0) * feeds["x"]
    assert np.array_equal(ReferenceEvaluator(masked).run(None, feeds)[0], expected)
