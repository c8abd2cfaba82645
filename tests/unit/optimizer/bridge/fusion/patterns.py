"""How the tests of the fusions build models, see what was fused, and compare."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper

from optimizer.bridge.module import ImportedModule, import_model
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, model_of, run_imported
from tests.unit.optimizer.bridge.onnx_models import run_ort as run_ort

Line = tuple[str, str, str]


def network(
    lines: str,
    x: Sequence[int | str],
    weights: Mapping[str, Any],
    *,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
    **attributes: Mapping[str, Any],
) -> onnx.ModelProto:
    """A model of lines such as ``y = Add(a, b)``; numbers may stand where inputs do.

    ``attributes`` are those of the node that makes the value of that name.
    """
    nodes, constants = [], {name: np.asarray(array) for name, array in weights.items()}
    for line in lines.strip().splitlines():
        result, _, call = line.strip().partition(" = ")
        op_type, _, arguments = call.rstrip(")").partition("(")
        names = []
        for argument in arguments.split(", "):
            if argument and argument.lstrip("-")[:1].isdigit():
                name = f"number_{argument}"
                constants[name] = np.asarray(float(argument), np.float32)
                argument = name
            names.append(argument)
        made = result.split(", ")
        nodes.append(
            helper.make_node(op_type, names, made, name=made[0], **attributes.get(made[0], {}))
        )
    return model_of(nodes, {"x": list(x)}, list(outputs), constants, opset=opset)


def calls(imported: ImportedModule, function: Callable[..., Any]) -> int:
    """How many nodes call ``function``."""
    return sum(node.target is function for node in imported.module.graph.nodes)


def assert_fused(
    model: onnx.ModelProto,
    x: np.ndarray,
    function: Callable[..., Any],
    *,
    times: int = 1,
    calls_in_all: int | None = None,
) -> ImportedModule:
    """Check that ``function`` is called so often, and that nothing but speed has changed."""
    fused, plain = import_model(model), import_model(model, fuse=False)
    assert calls(plain, function) == 0
    assert calls(fused, function) == times
    trained, wanted = (
        {name for name, tensor in imported.tensors.items() if tensor.requires_grad}
        for imported in (fused, plain)
    )
    assert trained == wanted
    assert set(fused.weights()) == set(plain.weights())
    if calls_in_all is not None:
        made = [node for node in fused.module.graph.nodes if node.op.startswith("call")]
        assert len(made) == calls_in_all, made
    assert_same(run_imported(fused, {"x": x}), run_ort(model, {"x": x}))
    assert_same_gradients(fused, plain, x)
    return fused


def assert_same_gradients(left: ImportedModule, right: ImportedModule, x: np.ndarray) -> None:
    found = []
    for imported in (left, right):
        argument = torch.from_numpy(x.copy()).requires_grad_()
        result = imported.module.train()(argument)
        results = result if isinstance(result, tuple) else (result,)
        sum(item.square().sum() for item in results).backward()
        weights = {
            name: tensor.grad for name, tensor in imported.tensors.items() if tensor.requires_grad
        }
        found.append(weights | {"input x": argument.grad})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert gradient is not None, name
        expected = found[1][name]
        assert expected is not None, name
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * scale)


def assert_left(model: onnx.ModelProto, x: np.ndarray, function: Callable[..., Any]) -> None:
    """Check that ``function`` is not used, and that the model is right without it."""
    imported = import_model(model)
    assert calls(imported, function) == 0
    assert_same(run_imported(imported, {"x": x}), run_ort(model, {"x": x}))


__all__ = ["assert_fused", "assert_left", "calls", "floats", "network", "run_ort"]
