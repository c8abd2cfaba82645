import copy
import pickle  # noqa: TID251 - data-parallel workers receive modules so
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.errors import ModelError
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    run_imported,
    run_ort,
)


def small_network(kind: type = np.float32, batch: int | str = "batch") -> onnx.ModelProto:
    """Conv, BatchNorm, ReLU, pooling, a scaled skip, a linear layer: every kind of initializer."""
    nodes = [
        helper.make_node("Conv", ["x", "stem/conv.weight"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "bn.w", "bn.b", "bn.mean", "bn.var"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Mul", ["c", "two"], ["d"]),
        helper.make_node("Add", ["d", "a"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Reshape", ["f", "target"], ["g"]),
        helper.make_node("Gemm", ["g", "fc", "fc.bias"], ["y"], transB=1),
    ]
    weights: dict[str, np.ndarray] = {
        "stem/conv.weight": floats(4, 3, 3, 3, seed=1),
        "bn.w": floats(4, seed=2),
        "bn.b": floats(4, seed=3),
        "bn.mean": floats(4, seed=4),
        "bn.var": np.abs(floats(4, seed=5)),
        "two": np.asarray(2.0),
        "fc": floats(5, 4, seed=6),
        "fc.bias": floats(5, seed=7),
        "unused": floats(2, seed=8),
    }
    arrays = {name: array.astype(kind) for name, array in weights.items()}
    target = np.array([batch if isinstance(batch, int) else -1, 4])
    shape = (batch, 3, 8, 8)
    example = {"x": np.zeros((), kind)}
    return model_of(nodes, {"x": shape}, ["y"], arrays | {"target": target}, examples=example)


def _feeds(batch: int = 2, kind: type = np.float32) -> dict[str, np.ndarray]:
    return {"x": floats(batch, 3, 8, 8, dtype=kind)}


TRAINED = {"stem/conv.weight", "bn.w", "bn.b", "fc", "fc.bias"}


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_equal_to_onnx_runtime(kind: type) -> None:
    model = small_network(kind)
    found = run_imported(import_model(model), _feeds(kind=kind))
    assert_same(found, run_ort(model, _feeds(kind=kind)))


def test_double_precision_of_which_onnx_runtime_has_no_convolution() -> None:
    (found,) = run_imported(import_model(small_network(np.float64)), _feeds(kind=np.float64))
    assert found.dtype == np.float64
    (expected,) = run_ort(small_network(), _feeds())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_parameters_by_role_and_gradients_on_all_of_them() -> None:
    imported = import_model(small_network())
    parameters = {
        name for name, tensor in imported.tensors.items() if isinstance(tensor, torch.nn.Parameter)
    }
    assert parameters == TRAINED
    assert len(list(imported.module.parameters())) == len(TRAINED)
    imported.module.train()(torch.from_numpy(_feeds()["x"])).square().sum().backward()
    for name in TRAINED:
        gradient = imported.tensors[name].grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


def test_a_step_of_training_lowers_the_loss_and_onnx_runtime_agrees_afterwards() -> None:
    model = small_network()
    imported = import_model(model)
    x, target = torch.from_numpy(_feeds(8)["x"]), torch.arange(8) % 5
    optimizer = torch.optim.SGD(imported.module.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(imported.module.train()(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    trained = _with_weights(model, imported)
    assert_same(run_ort(trained, _feeds()), run_imported(imported, _feeds()))
    assert not np.array_equal(run_ort(trained, _feeds())[0], run_ort(model, _feeds())[0])


def _with_weights(model: onnx.ModelProto, imported: ImportedModule) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    weights = imported.weights()
    for proto in copied.graph.initializer:
        if proto.name in weights:
            proto.CopyFrom(numpy_helper.from_array(weights[proto.name], proto.name))
    return copied


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_writing_the_weights_back_changes_no_bit(kind: type) -> None:
    model = small_network(kind)
    imported = import_model(model)
    run_imported(imported, _feeds(kind=kind))
    floats_in_file = {
        proto.name for proto in model.graph.initializer if proto.data_type != TensorProto.INT64
    }
    assert set(imported.weights()) == floats_in_file
    assert _with_weights(model, imported).SerializeToString() == model.SerializeToString()


def test_import_changes_nothing_in_the_model() -> None:
    model = small_network()
    before = model.SerializeToString()
    import_model(model)
    assert model.SerializeToString() == before


def test_loading_weights() -> None:
    imported, other = import_model(small_network()), import_model(small_network())
    changed = {name: array + 1 for name, array in imported.weights().items() if name in TRAINED}
    parameter = imported.tensors["fc"]
    imported.load_weights(changed)
    assert imported.tensors["fc"] is parameter
    np.testing.assert_array_equal(imported.weights()["fc"], changed["fc"])
    imported.load_weights(other.weights())
    assert_same(run_imported(imported, _feeds()), run_imported(other, _feeds()))


@pytest.mark.parametrize(
    ("weights", "error", "text"),
    [
        ({"nothing": floats(1)}, KeyError, "nothing"),
        ({"fc": floats(4, 5)}, ValueError, r"weight 'fc' has shape \(4, 5\), not \(5, 4\)"),
        ({"two": np.asarray(np.float32(3))}, ValueError, "'two' was folded into the code"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    weights: dict[str, np.ndarray], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        import_model(small_network()).load_weights(weights)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_are_complete_and_independent(how: str) -> None:
    imported = import_model(small_network())
    imported.module.eval()
    copied: Any = copy.deepcopy(imported)
    if how == "pickle":
        copied = pickle.loads(pickle.dumps(imported))  # noqa: S301
    assert not copied.module.training
    assert_same(run_imported(copied, _feeds()), run_imported(imported, _feeds()))
    assert copied.module.code == imported.module.code
    with torch.no_grad():
        copied.tensors["fc"].zero_()
    assert not np.array_equal(copied.weights()["fc"], imported.weights()["fc"])
    copied.module.train()(torch.from_numpy(_feeds()["x"]))
    assert not np.array_equal(copied.weights()["bn.mean"], imported.weights()["bn.mean"])


def test_tensors_are_the_live_ones_after_a_conversion() -> None:
    imported = import_model(small_network())
    imported.module.double()
    assert {tensor.dtype for tensor in imported.tensors.values()} == {torch.float64}


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_made_free(batch: int) -> None:
    imported = import_model(small_network(batch=batch))
    assert imported.batch_is_free
    free = import_model(small_network())
    for size in (batch, 1, 5):
        assert_same(run_imported(imported, _feeds(size)), run_imported(free, _feeds(size)))


def test_a_batch_that_cannot_be_free_stays() -> None:
    nodes = [
        helper.make_node("Gather", ["x", "index"], ["first"], axis=0),
        helper.make_node("Relu", ["first"], ["y"]),
    ]
    model = model_of(nodes, {"x": (2, 4)}, ["y"], {"index": np.array(1)})
    imported = import_model(model)
    assert not imported.batch_is_free
    feeds = {"x": floats(2, 4)}
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([("Slice", ["x", "first", "two"], ["y"])], {"first": np.array([1]), "two": np.array([2])}),
        ([("MatMul", ["matrix", "x"], ["y"])], {"matrix": floats(3, 2)}),
        ([("Reshape", ["x", "shape"], ["y"])], {"shape": np.array([4, 2])}),
        (
            [("GatherND", ["x", "index"], ["y"])],
            {"index": np.array([[0], [1]])},
        ),
    ],
)
def test_graphs_that_name_samples_keep_their_batch(
    nodes: list[tuple[str, list[str], list[str]]], constants: dict[str, np.ndarray]
) -> None:
    built = [helper.make_node(*node) for node in nodes]
    model = model_of(built, {"x": (2, 4)}, ["y"], constants)
    imported = import_model(model)
    feeds = {"x": floats(2, 4)}
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
    if nodes[0][0] != "Reshape":
        assert not imported.batch_is_free


def test_all_samples_of_a_baked_in_batch_by_slice_gather_and_class_token() -> None:
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "zero"], ["all"]),
        helper.make_node("Concat", ["token", "all"], ["tokens"], axis=1),
        helper.make_node("Reshape", ["tokens", "flat"], ["line"]),
        helper.make_node("Gather", ["line", "picks"], ["y"], axis=0),
    ]
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "token": floats(1, 1, 4, seed=3),
        "flat": np.array([-1]),
        "picks": np.array([[0, 5, 11]]),
    }
    imported = import_model(model_of(nodes, {"x": (1, 2, 4)}, ["y"], constants))
    assert imported.batch_is_free
    x = floats(3, 2, 4)
    lines = np.concatenate([np.repeat(constants["token"], 3, 0), x], 1).reshape(3, 12)
    assert_same(run_imported(imported, {"x": x}), [lines[:, [0, 5, 11]]])


def test_positions_of_sample_0_are_meant_for_every_sample() -> None:
    index = np.array([[[0, 1], [0, 3]]])
    node = helper.make_node("GatherND", ["x", "index"], ["y"])
    imported = import_model(model_of([node], {"x": (1, 4)}, ["y"], {"index": index}))
    x = floats(3, 4)
    assert_same(run_imported(imported, {"x": x}), [x[:, [1, 3]]])


def test_several_inputs_and_outputs_keep_their_order_and_constants_are_outputs_too() -> None:
    nodes = [
        helper.make_node("Sub", ["b", "a"], ["difference"]),
        helper.make_node("Shape", ["a"], ["sizes"]),
        helper.make_node("Constant", [], ["number"], value_float=2.5),
        helper.make_node("Constant", [], ["list"], value_ints=[1, 2]),
    ]
    outputs = ["sizes", "difference", "number", "list", "a"]
    model = model_of(nodes, {"a": ("n", 2), "b": ("n", 2)}, outputs, {})
    imported = import_model(model)
    assert imported.input_names == ("a", "b")
    assert imported.output_names == tuple(outputs)
    feeds = {"a": floats(3, 2), "b": floats(3, 2, seed=1)}
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))


def test_inputs_without_shapes() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "axis"], ["batch"]),
        helper.make_node("Div", ["x", "two"], ["half"]),
        helper.make_node("Mul", ["half", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "batch"], ["y"]),
    ]
    constants = {
        "axis": np.array([1, 0]),
        "two": np.full(1, 2, np.float32),
        "scale": floats(3),
    }
    model = model_of(nodes, {"x": ("n", 3)}, ["y"], constants)
    feeds = {"x": floats(4, 3)}
    expected = run_ort(model, feeds)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert_same(run_imported(import_model(model), feeds), expected)
    model = small_network()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedOperatorsError, match="needs the rank of its input 0"):
        import_model(model)


def test_initializers_that_are_also_graph_inputs() -> None:
    model = small_network()
    shape = helper.make_tensor_value_info("fc", TensorProto.FLOAT, [5, 4])
    model.graph.input.append(shape)
    assert import_model(model).input_names == ("x",)


def test_every_unsupported_operator_is_reported_with_all_its_nodes() -> None:
    nodes = [
        helper.make_node("Magic", ["x"], ["a"], name="m1", domain="com.acme"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Magic", ["b"], ["c"], name="m2", domain="com.acme"),
        helper.make_node("StringNormalizer", ["c"], ["y"], name="s"),
    ]
    for batch in (1, "batch"):
        with pytest.raises(UnsupportedOperatorsError) as caught:
            import_model(model_of(nodes, {"x": (batch, 2)}, ["y"], {}))
        found = {(item.domain, item.op_type): item.nodes for item in caught.value.operators}
        assert found == {("com.acme", "Magic"): ("m1", "m2"), ("", "StringNormalizer"): ("s",)}


def test_broken_graphs_are_refused_with_the_name_at_fault() -> None:
    nodes = [helper.make_node("Relu", ["nowhere"], ["y"], name="r")]
    with pytest.raises(ModelError, match="node 'r' reads 'nowhere'"):
        import_model(model_of(nodes, {"x": ("n", 2)}, ["y"], {}))
    nodes = [helper.make_node("Relu", ["text"], ["y"])]
    model = model_of(nodes, {"x": ("n", 2)}, ["y"], {})
    model.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [1], [b"a"]))
    with pytest.raises(ModelError, match="initializer 'text'") as caught:
        import_model(model)
    assert caught.value.code == "model-dtype"


@pytest.mark.parametrize("is_read", [False, True])
def test_inputs_of_strings_are_refused_by_name(is_read: bool) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["text"], ["z"])]
    model = model_of(nodes, {"x": ("n", 2)}, ["y", "z"] if is_read else ["y"], {})
    model.graph.input.append(helper.make_tensor_value_info("text", TensorProto.STRING, [1]))
    with pytest.raises(ModelError, match="input 'text' holds strings") as caught:
        import_model(model)
    assert caught.value.code == "model-dtype"


def test_shared_weights_stay_shared() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    imported = import_model(model_of(nodes, {"x": ("n", 3)}, ["y"], {"w": floats(3, 3)}))
    assert len(list(imported.module.parameters())) == 1


def test_any_name_is_a_name_of_a_weight_and_of_a_value() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "lambda"], ["self"]),
        helper.make_node("Add", ["self", "self.weight"], ["forward"]),
        helper.make_node("Mul", ["forward", "a b"], ["y"]),
    ]
    names = ("lambda", "self.weight", "a b")
    weights = {name: floats(4, seed=seed) for seed, name in enumerate(names)}
    model = model_of(nodes, {"x": ("batch", 4)}, ["y"], weights)
    imported = import_model(model)
    feeds = {"x": floats(3, 4)}
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
    assert set(imported.weights()) == set(names)
