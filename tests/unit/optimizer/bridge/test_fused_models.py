"""Models in ONNX Runtime's own operators: written by hand, and by the runtime's optimiser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from graph_analysis.loading import load_model
from graph_analysis.testing import HARD_CASES, fused
from optimizer.bridge.importer import free_inputs
from optimizer.bridge.module import import_model
from optimizer.bridge.registry import supported_operators
from optimizer.bridge.scopes import all_nodes
from optimizer.bridge.slots import MICROSOFT
from tests.unit.optimizer.bridge.onnx_models import assert_same, run_imported, run_ort


def _can_be_imported(model: onnx.ModelProto) -> bool:
    known = supported_operators()
    return all((node.domain, node.op_type) in known for node in model.graph.node)


def _feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    feeds = {}
    for info in free_inputs(model.graph):
        tensor = info.type.tensor_type
        shape = [dim.dim_value or 2 for dim in tensor.shape.dim]
        if tensor.elem_type == onnx.TensorProto.FLOAT:
            feeds[info.name] = rng.standard_normal(shape).astype(np.float32)
        else:  # ids, segments, masks
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[info.name] = rng.integers(0, 2, shape).astype(kind)
    return feeds


def _check(model: onnx.ModelProto) -> None:
    """Equal to ONNX Runtime, and a finite gradient that is not 0 on every parameter."""
    model = load_model(model.SerializeToString()).model
    feeds = _feeds(model)
    imported = import_model(model)
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
    inputs = [torch.from_numpy(feeds[name]) for name in imported.input_names]
    results = imported.module(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    torch.stack([result.square().mean() for result in results]).sum().backward()
    parameters = dict(imported.module.named_parameters())
    assert parameters
    if any(
        node.op_type == "If" for node in all_nodes(model.graph.node)
    ):  # a branch that is not taken
        parameters = {name: each for name, each in parameters.items() if each.grad is not None}
        assert parameters
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert parameter.grad.abs().sum() > 0, name


BY_HAND = [case for case in fused.CASES if _can_be_imported(case())]


@pytest.mark.parametrize("build", BY_HAND, ids=lambda build: build.__name__)
def test_models_written_by_hand(build: Callable[[], onnx.ModelProto]) -> None:
    _check(build())


def test_all_of_them_but_those_in_standard_operators_are_covered() -> None:
    names = {case.__name__ for case in fused.CASES} - {case.__name__ for case in BY_HAND}
    assert names <= {"attention_opset23", "attention_opset23_heads"}


def _optimised(build: Callable[[], onnx.ModelProto], folder: Path) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        build().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(folder / "optimised.onnx")


STANDARD = {
    name: build
    for name, build in HARD_CASES.items()
    if not any(node.domain for node in build().graph.node) and _can_be_imported(build())
}
# a chosen branch gets no gradient where the other one is larger everywhere
UNTRAINED = {"least_greatest_chosen"}


@pytest.mark.parametrize("name", sorted(set(STANDARD) - UNTRAINED))
def test_models_written_by_the_optimiser(name: str, tmp_path: Path) -> None:
    model = _optimised(STANDARD[name], tmp_path)
    if any(node.domain == MICROSOFT for node in model.graph.node):
        _check(model)


@pytest.mark.parametrize(
    ("name", "op_type"),
    [
        ("residual_add", "FusedConv"),
        ("mixture_of_experts", "FusedGemm"),
        ("gqa", "FusedMatMul"),
        ("rmsnorm_custom_gated_mlp", "QuickGelu"),
    ],
)
def test_the_optimiser_does_write_them(name: str, op_type: str, tmp_path: Path) -> None:
    model = _optimised(STANDARD[name], tmp_path)
    assert op_type in {node.op_type for node in model.graph.node if node.domain == MICROSOFT}
