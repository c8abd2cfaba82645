"""Small ONNX models for the tests of the bridge, and what ONNX Runtime makes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from optimizer.bridge.arrays import array_from_tensor, tensor_from_array
from optimizer.bridge.module import ImportedModule, import_model

RNG_SEED = 7
Shape = Sequence[int | str | None]


def floats(*shape: int, dtype: type = np.float32, seed: int = RNG_SEED) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def one_node(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    *,
    opset: int = 17,
    constant: Sequence[int] = (),
    outputs: int = 1,
    domain: str = "",
    free_batch: bool = False,
    **attributes: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return a model of one node and its feeds; inputs at ``constant`` become initializers."""
    names = ["" if array is None else f"x{position}" for position, array in enumerate(inputs)]
    present = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    fixed = {f"x{position}": present.pop(f"x{position}") for position in constant}
    results = [f"y{position}" for position in range(outputs)]
    node = helper.make_node(op_type, names, results, name="node", domain=domain, **attributes)
    shapes = {
        name: ["batch", *array.shape[1:]] if free_batch and array.ndim else array.shape
        for name, array in present.items()
    }
    model = model_of([node], shapes, results, fixed, opset=opset, examples=present)
    return model, present


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    initializers: Mapping[str, np.ndarray],
    *,
    opset: int = 17,
    examples: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """Return a model; inputs are float32 unless ``examples`` says otherwise."""
    infos = []
    for name, shape in inputs.items():
        kind = np.dtype(np.float32) if examples is None else examples[name].dtype
        infos.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), shape)
        )
    graph = helper.make_graph(
        list(nodes),
        "graph",
        infos,
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    for info in graph.output:
        info.ClearField("type")
    domains = sorted({node.domain for node in nodes} - {""})
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 21 else 10)


def run_ort(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def run_imported(imported: ImportedModule, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    arguments = [tensor_from_array(feeds[name]) for name in imported.input_names]
    with torch.no_grad():
        result = imported.module.eval()(*arguments)
    results = result if isinstance(result, tuple) else (result,)
    return [array_from_tensor(tensor) for tensor in results]


def assert_same(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        if theirs.dtype.kind != "f":
            np.testing.assert_array_equal(ours, theirs)
            continue
        finite = np.abs(theirs[np.isfinite(theirs)])
        scale = max(1.0, float(finite.max())) if finite.size else 1.0
        relative = 2e-3 if theirs.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(ours, theirs, rtol=relative, atol=relative * scale)


def assert_like_ort(op_type: str, inputs: Sequence[np.ndarray | None], **settings: Any) -> None:
    """Compare a node with ONNX Runtime, with and without its small inputs as initializers."""
    model, feeds = one_node(op_type, inputs, **settings)
    expected = run_ort(model, feeds)
    assert_same(run_imported(import_model(model), feeds), expected)


def assert_like_reference(
    op_type: str, inputs: Sequence[np.ndarray | None], **settings: Any
) -> None:
    """The same against onnx's own evaluator, for what ONNX Runtime does not have."""
    model, feeds = one_node(op_type, inputs, **settings)
    expected = [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feeds)]
    assert_same(run_imported(import_model(model), feeds), expected)


def assert_trains(op_type: str, inputs: Sequence[np.ndarray | None], **settings: Any) -> None:
    """Every float input gets a finite gradient that is not all zero."""
    model, feeds = one_node(op_type, inputs, **settings)
    imported = import_model(model)
    arguments = [tensor_from_array(feeds[name]) for name in imported.input_names]
    floating = [argument for argument in arguments if argument.is_floating_point()]
    for argument in floating:
        argument.requires_grad_()
    result = imported.module(*arguments)
    first = result[0] if isinstance(result, tuple) else result
    (first * torch.linspace(0.5, 1.5, first.numel()).reshape(first.shape)).sum().backward()
    for argument in floating:
        assert argument.grad is not None
        assert bool(torch.isfinite(argument.grad).all())
        assert bool(argument.grad.any())
