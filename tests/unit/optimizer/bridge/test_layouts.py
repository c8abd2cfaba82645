import numpy as np
import torch
from onnx import helper

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    run_imported,
    run_ort,
)


def test_channels_last_has_the_same_results() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "shape"], ["c"]),
        helper.make_node("MatMul", ["c", "v"], ["d"]),
        helper.make_node("Add", ["d", "z"], ["y"]),
    ]
    weights = {
        "w": floats(8, 4, 3, 3),
        "v": floats(36, 5, seed=1),
        "shape": np.array([0, 8, 36]),
    }
    inputs = {"x": ("n", 4, 6, 6), "z": ("n", 8, 5)}
    model = model_of(nodes, inputs, ["y"], weights)
    feeds = {"x": floats(2, 4, 6, 6, seed=2), "z": floats(2, 8, 5, seed=3)}
    plain, imported = import_model(model), import_model(model)
    converted = imported.with_channels_last()
    assert converted.tensors["w"] is imported.tensors["w"]
    assert converted.tensors["w"].is_contiguous(memory_format=torch.channels_last)
    assert not converted.tensors["w"].is_contiguous()
    assert_same(run_imported(converted, feeds), run_ort(model, feeds))
    for form in (plain, converted):
        form.module.train()(*map(torch.from_numpy, feeds.values())).square().sum().backward()
    for name in ("w", "v"):
        left, right = plain.tensors[name].grad, converted.tensors[name].grad
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
    for name, array in plain.weights().items():
        np.testing.assert_array_equal(array, converted.weights()[name])
    converted.load_weights({"w": weights["w"] * 2})
    assert np.array_equal(converted.weights()["w"], weights["w"] * 2)
