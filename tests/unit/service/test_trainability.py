"""What `secateur trainable` finds out, on models whose answer is known."""

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.errors import ModelError
from graph_analysis.testing import HARD_CASES
from optimizer.bridge.module import ImportedModule
from service import trainability
from service.trainability import Trainability, examine

RNG = np.random.default_rng(0)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    weights: dict[str, np.ndarray],
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, *entry) for name, entry in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def linear(batch: int | str = "n", *, extra: list[onnx.NodeProto] | None = None) -> bytes:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), *(extra or [])]
    if extra is None:
        nodes.append(helper.make_node("Relu", ["h"], ["y"]))
    return model_of(nodes, {"x": (TensorProto.FLOAT, [batch, 3])}, {"w": floats(3, 5)})


def test_a_sound_model_equals_and_trains() -> None:
    found = examine(HARD_CASES["residual_add"]().SerializeToString())
    assert found.error is None
    assert found.supported == found.operators
    assert found.supported["Conv"] > 1
    document = found.to_dict()
    assert document["unsupported"] == []
    assert 0 <= document["max_difference"] < 1e-5
    assert max(document["differences"].values()) == document["max_difference"]
    assert document["weights"] == document["weights_with_gradient"] > 1
    assert document["step_ms"] > 0
    assert document["batch_size"] == 4


def test_differences_are_those_of_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    run_real = trainability.run

    def shifted(*arguments: object) -> dict[str, np.ndarray]:
        outputs = run_real(*arguments)  # type: ignore[arg-type]
        return {name: array * np.float32(1.01) for name, array in outputs.items()}

    monkeypatch.setattr(trainability, "run", shifted)
    found = examine(linear())
    assert found.differences["y"] == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert found.error is not None
    assert found.error.code == "model-conversion-mismatch"
    assert "output 'y'" in str(found.error)


def test_every_unsupported_operator_is_listed_also_inside_bodies() -> None:
    inside = helper.make_graph(
        [helper.make_node("Magic", ["h"], ["b"], name="inside", domain="com.acme")],
        "body",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Magic", ["h"], ["m"], name="outside", domain="com.acme"),
        helper.make_node("Not", ["flag"], ["f"]),
        helper.make_node("If", ["f"], ["y"], name="if", then_branch=inside, else_branch=inside),
    ]
    source = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), *nodes],
        {"x": (TensorProto.FLOAT, ["n", 3]), "flag": (TensorProto.BOOL, [])},
        {"w": floats(3, 3)},
        outputs=("y", "m"),
    )
    found = examine(source)
    assert found.error is not None
    assert (found.error.code, found.error.exit_code) == ("model-unsupported-op", 2)
    document = found.to_dict()
    (magic,) = (item for item in document["unsupported"] if item["operator"] == "Magic")
    assert magic["domain"] == "com.acme"
    assert magic["opset"] == 1
    assert magic["nodes"][0] == "outside"
    assert any(name.startswith("inside") for name in magic["nodes"][1:])
    assert document["supported"]["MatMul"] == 1
    assert "com.acme.Magic" not in document["supported"]
    assert found.operators["com.acme.Magic"] == 3
    assert document["max_difference"] is None
    assert document["step_ms"] is None


def test_token_ids_stay_in_their_table_and_free_axes_are_bound() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["y"]),
    ]
    source = model_of(
        nodes,
        {"ids": (TensorProto.INT64, ["n", "s"])},
        {"table": floats(3, 4), "w": floats(4, 2)},
    )
    found = examine(source, input_shapes={"ids": (1, 5)}, batch_size=2)
    assert found.error is None
    assert found.shapes == {"ids": (2, 5)}
    assert (found.weights, found.missed, found.parameters) == (2, {}, 20)
    assert found.max_difference == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "shape"), [("who", (1, 3)), ("x", (1, 4)), ("x", (1, 3, 3))])
def test_shapes_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="--input-shape"):
        examine(linear(), input_shapes={name: shape})


def test_a_batch_of_one_in_the_file_is_widened_for_the_step() -> None:
    found = examine(linear(batch=1), batch_size=3)
    assert found.error is None
    assert found.shapes == {"x": (3, 3)}
    assert examine(linear(batch=2), batch_size=3).shapes == {"x": (2, 3)}


def test_weights_that_no_gradient_reaches_are_named() -> None:
    nodes = [
        helper.make_node("MatMul", ["h", "w2"], ["a"]),
        helper.make_node("ArgMax", ["a"], ["i"], keepdims=0, axis=1),
        helper.make_node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["h", "last"], ["s"], keepdims=0),
        helper.make_node("Add", ["s", "c"], ["y"]),
    ]
    source = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), *nodes],
        {"x": (TensorProto.FLOAT, ["n", 3])},
        {"w": floats(3, 5), "w2": floats(5, 5), "last": np.array([1])},
    )
    found = examine(source)
    assert found.error is None
    assert (found.weights, found.missed) == (2, {"w2": "no gradient arrives"})
    assert found.to_dict()["weights_with_gradient"] == 1


def test_what_looks_like_no_weight_is_named() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "mask"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["y"]),
    ]
    mask = np.array([0, 0, -1e9, 0, 0], np.float32)
    weights = {"w": floats(3, 5), "mask": mask, "bias": floats(5)}
    found = examine(model_of(nodes, {"x": (TensorProto.FLOAT, ["n", 3])}, weights))
    assert found.to_dict()["constants"] == ["mask"]
    assert found.weights == 2


def test_gradients_that_are_not_finite_or_zero_are_told_apart() -> None:
    extra = [
        helper.make_node("Sub", ["h", "h"], ["zero"]),
        helper.make_node("Sqrt", ["zero"], ["y"]),
    ]
    found = examine(linear(extra=extra))
    assert found.missed == {"w": "its gradient is not finite"}
    assert "no finite gradient reaches any weight" in str(found.error)
    extra = [helper.make_node("Abs", ["h"], ["p"]), helper.make_node("Neg", ["p"], ["n"])]
    found = examine(linear(extra=[*extra, helper.make_node("Relu", ["n"], ["y"])]))
    assert found.missed == {}
    assert found.zero == ("w",)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            model_of(
                [helper.make_node("Abs", ["x"], ["y"])], {"x": (TensorProto.FLOAT, ["n", 3])}, {}
            ),
            "no float weights",
        ),
        (
            linear(
                extra=[
                    helper.make_node("ArgMax", ["h"], ["i"]),
                    helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
                ]
            ),
            "no float output depends on a weight",
        ),
    ],
)
def test_what_does_not_train_says_so(source: bytes, text: str) -> None:
    found = examine(source)
    assert found.error is not None
    assert found.error.exit_code == 2
    assert text in str(found.error)
    assert found.to_dict()["weights_with_gradient"] == 0


def test_an_input_without_a_rank_is_a_clear_failure() -> None:
    model = onnx.load_model_from_string(linear())
    model.graph.input.append(helper.make_tensor_value_info("what", TensorProto.FLOAT, None))
    model.graph.node.append(helper.make_node("Abs", ["what"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    found = examine(model.SerializeToString())
    assert "input 'what' is no tensor of known rank" in str(found.error)


def test_the_shape_of_an_input_without_a_rank_can_be_given() -> None:
    model = onnx.load_model_from_string(linear())
    model.graph.input[0].type.tensor_type.ClearField("shape")
    found = examine(model.SerializeToString(), input_shapes={"x": (2, 3)})
    assert found.error is None
    assert found.weights == 1
    assert found.step_ms is not None
    assert found.max_difference is not None
    assert found.max_difference < 1e-6


def test_what_onnx_runtime_refuses_still_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        message = "no\nkernel"
        raise RuntimeError(message)

    for name in ("open_session", "run"):
        with monkeypatch.context() as patch:
            patch.setattr(trainability, name, refuse)
            found = examine(linear())
        assert found.error is None
        assert found.max_difference is None
        assert "no kernel" in found.notes[0]
        assert found.step_ms is not None


def test_a_module_that_fails_where_the_runtime_does_not_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(imported: ImportedModule, feeds: object) -> dict[str, np.ndarray]:
        message = "torch\nsays no"
        raise RuntimeError(message)

    monkeypatch.setattr(trainability, "outputs_of", fail)
    found = examine(linear())
    assert "the imported module does not: torch says no" in str(found.error)
    assert found.to_dict()["weights_with_gradient"] == 0


def test_values_are_tried_until_the_outputs_tell_something() -> None:
    nodes = [helper.make_node("Sub", ["h", "big"], ["s"]), helper.make_node("Relu", ["s"], ["y"])]
    source = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), *nodes],
        {"x": (TensorProto.FLOAT, ["n", 3])},
        {"w": np.abs(floats(3, 5)), "big": np.full((5,), 8, np.float32)},
    )
    found = examine(source, batch_size=16)
    assert found.zero == ()  # standard normal inputs give zeros only


def test_infinite_differences_are_null_in_json() -> None:
    found = Trainability(operators={}, differences={"y": math.inf}, mismatch="shape")
    document = found.to_dict()
    assert document["max_difference"] is None
    assert document["differences"] == {"y": None}
    assert document["mismatch"] == "shape"


def test_the_same_seed_gives_the_same_answer() -> None:
    source = HARD_CASES["residual_add"]().SerializeToString()
    first, second, other = (examine(source, seed=seed).differences for seed in (1, 1, 2))
    assert first == second != other


def test_weights_are_not_moved_by_the_steps() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    before = module.weight.detach().clone()
    trainability._Step(module, [torch.ones(2, 3)]).median_ms()
    assert torch.equal(module.weight, before)
