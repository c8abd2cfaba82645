import numpy as np
import pytest
import torch
from onnx import helper

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    model_of,
    one_node,
    run_imported,
    run_ort,
)

STATISTICS = [floats(3, seed=1), floats(3, seed=2), floats(3, seed=3), np.abs(floats(3, seed=4))]


@pytest.mark.parametrize("spatial", [(), (5,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("opset", [9, 17])
def test_batch_norm_in_evaluation(spatial: tuple[int, ...], opset: int) -> None:
    inputs = [floats(2, 3, *spatial), *STATISTICS]
    assert_like_ort("BatchNormalization", inputs, constant=[1, 2, 3, 4], opset=opset, epsilon=1e-3)


def test_batch_norm_in_training_updates_its_statistics() -> None:
    x = floats(8, 3, 4, 4)
    model, _ = one_node("BatchNormalization", [x, *STATISTICS], constant=[1, 2, 3, 4], momentum=0.8)
    imported = import_model(model)
    kinds = {
        name: isinstance(imported.tensors[name], torch.nn.Parameter) for name in imported.tensors
    }
    assert kinds == {"x1": True, "x2": True, "x3": False, "x4": False}
    result = imported.module.train()(torch.from_numpy(x))
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
    normal = (x - mean[:, None, None]) / np.sqrt(x.var((0, 2, 3)) + 1e-5)[:, None, None]
    expected = normal * STATISTICS[0][:, None, None] + STATISTICS[1][:, None, None]
    np.testing.assert_allclose(result.detach(), expected, atol=1e-5)
    weights = imported.weights()
    np.testing.assert_allclose(weights["x3"], 0.8 * STATISTICS[2] + 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(weights["x4"], 0.8 * STATISTICS[3] + 0.2 * variance, rtol=1e-5)
    before = imported.weights()
    imported.module.eval()(torch.from_numpy(x))
    np.testing.assert_array_equal(imported.weights()["x3"], before["x3"])


def test_batch_norm_exported_in_training_mode_uses_batch_statistics_always() -> None:
    x = floats(8, 3, 4, 4)
    inputs = [x, *STATISTICS]
    settings = {"constant": [1, 2, 3, 4], "training_mode": 1, "outputs": 3, "momentum": 0.7}
    model, feeds = one_node("BatchNormalization", inputs, **settings)
    imported = import_model(model)
    normalised, mean, variance = run_imported(imported, feeds)
    deviation = np.sqrt(x.var((0, 2, 3)) + 1e-5)[:, None, None]
    expected = (x - x.mean((0, 2, 3))[:, None, None]) / deviation
    expected = expected * STATISTICS[0][:, None, None] + STATISTICS[1][:, None, None]
    np.testing.assert_allclose(normalised, expected, atol=1e-5)
    np.testing.assert_allclose(mean, 0.7 * STATISTICS[2] + 0.3 * x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.7 * STATISTICS[3] + 0.3 * x.var((0, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(imported.weights()["x3"], STATISTICS[2])
    imported.module.train()(torch.from_numpy(x))
    np.testing.assert_allclose(imported.weights()["x3"], mean, rtol=1e-6)


def test_training_form_leaves_statistics_that_the_graph_computes() -> None:
    nodes = [
        helper.make_node("Abs", ["m"], ["mean"]),
        helper.make_node("Abs", ["v"], ["variance"]),
        helper.make_node(
            "BatchNormalization",
            ["x", "s", "b", "mean", "variance"],
            ["y", "new_mean", "new_variance"],
            training_mode=1,
        ),
    ]
    weights = dict(zip("sbmv", STATISTICS, strict=True))
    imported = import_model(model_of(nodes, {"x": ("n", 3, 4, 4)}, ["y", "new_mean"], weights))
    x = torch.from_numpy(floats(8, 3, 4, 4))
    first, again = imported.module.train()(x), imported.module(x)
    torch.testing.assert_close(first[1], again[1], rtol=0, atol=0)
    np.testing.assert_array_equal(imported.weights()["m"], weights["m"])


def test_batch_norm_with_statistics_as_outputs_before_opset_14_is_refused() -> None:
    model, _ = one_node("BatchNormalization", [floats(2, 3), *STATISTICS], opset=9, outputs=3)
    with pytest.raises(UnsupportedOperatorsError, match="outputs for its statistics"):
        import_model(model)


def test_computed_statistics_are_those_of_the_graph_in_training_too() -> None:
    nodes = [
        helper.make_node("Mul", ["x4", "two"], ["twice"]),
        helper.make_node("BatchNormalization", ["x", "x1", "x2", "x3", "twice"], ["y"]),
    ]
    names = ("x1", "x2", "x3", "x4")
    constants = dict(zip(names, STATISTICS, strict=True)) | {"two": np.array(2, np.float32)}
    model = model_of(nodes, {"x": ("batch", 3, 4)}, ["y"], constants)
    imported = import_model(model)
    x = floats(5, 3, 4)
    expected = run_ort(model, {"x": x})
    assert_same(run_imported(imported, {"x": x}), expected)
    found = imported.module.train()(torch.from_numpy(x))
    assert_same([found.detach().numpy()], expected)
    assert_same(run_imported(imported, {"x": x}), expected)


@pytest.mark.parametrize("spatial", [(5,), (4, 5)])
def test_instance_norm(spatial: tuple[int, ...]) -> None:
    inputs = [floats(2, 3, *spatial), *STATISTICS[:2]]
    assert_like_ort("InstanceNormalization", inputs, constant=[1, 2], epsilon=1e-3)


def _grouped(x: np.ndarray, groups: int) -> np.ndarray:
    rows = x.reshape(len(x), groups, -1)
    normal = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
    return normal.reshape(x.shape)


@pytest.mark.parametrize(("opset", "count"), [(18, 2), (21, 4)])
def test_group_norm_with_scales_per_group_and_per_channel(opset: int, count: int) -> None:
    x, scale, bias = floats(2, 4, 3, 3), floats(count, seed=1), floats(count, seed=2)
    model, feeds = one_node(
        "GroupNormalization", [x, scale, bias], constant=[1, 2], num_groups=2, opset=opset
    )
    share = 4 // count
    per_channel = [np.repeat(item, share)[:, None, None] for item in (scale, bias)]
    expected = _grouped(x, 2) * per_channel[0] + per_channel[1]
    assert_same(run_imported(import_model(model), feeds), [expected])


@pytest.mark.parametrize("axis", [-1, 2, 1, -2])
@pytest.mark.parametrize("with_bias", [False, True])
def test_layer_norm(axis: int, with_bias: bool) -> None:
    x = floats(2, 3, 4)
    sizes = x.shape[axis % 3 :]
    inputs = [x, floats(*sizes, seed=1)] + ([floats(*sizes, seed=2)] if with_bias else [])
    constant = range(1, len(inputs))
    assert_like_ort("LayerNormalization", inputs, constant=constant, axis=axis, epsilon=1e-3)


def test_layer_norm_with_its_statistics_and_a_broadcast_scale() -> None:
    inputs = [floats(2, 3, 4), floats(4, seed=1), floats(4, seed=2)]
    assert_like_ort("LayerNormalization", inputs, constant=[1, 2], outputs=3)
    assert_like_ort("LayerNormalization", inputs, constant=[1, 2], axis=-1)


@pytest.mark.parametrize("scale", [(4,), (1,)])
def test_rms_norm(scale: tuple[int, ...]) -> None:
    x, weight = floats(2, 3, 4), floats(*scale, seed=1)
    model, feeds = one_node("RMSNormalization", [x, weight], constant=[1], opset=23, epsilon=1e-3)
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3) * weight
    assert_same(run_imported(import_model(model), feeds), [expected])


def test_local_response_norm() -> None:
    assert_like_ort("LRN", [floats(2, 6, 3, 3)], size=3, alpha=0.1, beta=0.6, bias=1.5)


@pytest.mark.parametrize("size", [8, 11, 100_000_001])
def test_local_response_norm_over_more_channels_than_there_are(size: int) -> None:
    x = floats(2, 4, 3, 3)
    model, feeds = one_node("LRN", [x], size=size, alpha=0.5 * size)
    expected = x / (1 + 0.5 * (x * x).sum(1, keepdims=True)) ** 0.75
    assert_same(run_imported(import_model(model), feeds), [expected])


def test_mean_variance_norm() -> None:
    assert_like_ort("MeanVarianceNormalization", [floats(2, 3, 4, 4)], opset=13)


@pytest.mark.parametrize(("axis", "power"), [(-1, 2), (1, 1)])
def test_norm_along_an_axis(axis: int, power: int) -> None:
    assert_like_ort("LpNormalization", [floats(2, 3, 4)], axis=axis, p=power)
