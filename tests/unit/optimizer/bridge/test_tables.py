import numpy as np
import pytest
from onnx import TensorProto, helper

from optimizer.bridge.module import import_model
from optimizer.bridge.tables import angles, is_table
from tests.unit.optimizer.bridge.onnx_models import floats, model_of

GRID = np.stack(np.meshgrid(np.arange(4), np.arange(3)), -1)[None].astype(np.float64)


@pytest.mark.parametrize(
    "array",
    [
        GRID,
        GRID + 0.5,
        np.array([[8.0, 16.0, 32.0]]),
        np.linspace(0, 1, 7),
        np.linspace(-1, 1, 6)[:, None] * np.ones((1, 5)),
    ],
)
def test_what_is_laid_out_evenly_is_a_table(array: np.ndarray) -> None:
    assert is_table(array.astype(np.float32).astype(np.float64))


@pytest.mark.parametrize(
    "array",
    [
        np.ones(5),
        np.zeros((4, 4)),
        np.array([1.0, 0.0, 1.0, 1.0]),
        np.array([0.5, 0.1]),
        np.array([0.1, 0.3, 0.4]),
        np.array([1.0, np.inf, 2.0]),
        floats(6, 5).astype(np.float64),
    ],
)
def test_weights_are_none(array: np.ndarray) -> None:
    assert not is_table(array)


def _trained(nodes: list[tuple], constants: dict[str, np.ndarray]) -> set[str]:
    built = [helper.make_node(*node[:3], **(node[3] if node[3:] else {})) for node in nodes]
    model = model_of(built, {"x": ("batch", 4)}, ["y"], constants)
    imported = import_model(model)
    return {name for name, tensor in imported.tensors.items() if tensor.requires_grad}


def test_constants_without_elements_are_nothing_to_train() -> None:
    constants = {"empty": np.zeros((0, 3, 4), np.float32), "w": floats(4, 4)}
    nodes = [("MatMul", ["x", "w"], ["a"]), ("Sum", ["a"], ["y"]), ("Exp", ["empty"], ["unread"])]
    assert _trained(nodes, constants) == {"w"}


def test_weights_behind_functions_are_found() -> None:
    nodes = [
        ("Clip", ["scale", "", "limit"], ["clipped"]),
        ("Exp", ["clipped"], ["factor"]),
        ("Mul", ["x", "factor"], ["scaled"]),
        ("ScatterND", ["bias", "where", "zero"], ["shift"]),
        ("Add", ["scaled", "shift"], ["y"]),
    ]
    constants = {
        "scale": floats(4, seed=1),
        "limit": np.array(4.6, np.float32),
        "bias": floats(4, seed=2),
        "where": np.array([[1]]),
        "zero": np.zeros(1, np.float32),
    }
    assert _trained(nodes, constants) == {"scale", "bias"}


def test_a_network_of_coordinates_is_trained_and_they_are_not() -> None:
    nodes = [
        ("MatMul", ["table", "first"], ["a"]),
        ("Add", ["a", "bias"], ["b"]),
        ("Relu", ["b"], ["c"]),
        ("MatMul", ["c", "second"], ["d"]),
        ("Sigmoid", ["d"], ["e"]),
        ("Add", ["x", "e"], ["y"]),
    ]
    weights = {"first": floats(2, 8), "bias": floats(8), "second": floats(8, 4)}
    assert _trained(nodes, {"table": floats(1, 3, 1, 2), **weights}) == set(weights)


def test_frequencies_of_a_rotation_are_not_trained() -> None:
    nodes = [
        ("MatMul", ["x", "frequencies"], ["angle"]),
        ("Concat", ["angle", "angle"], ["both"], {"axis": 1}),
        ("Cos", ["both"], ["cosine"]),
        ("Sin", ["both"], ["sine"]),
        ("Mul", ["sine", "cosine"], ["y"]),
    ]
    assert _trained(nodes, {"frequencies": floats(4, 3)}) == set()
    alone = [nodes[0], ("Sin", ["angle"], ["y"])]
    assert _trained(alone, {"frequencies": floats(4, 3)}) == {"frequencies"}


def test_both_functions_must_read_the_value() -> None:
    nodes = [
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Sin", ["b"], ["s"]),
        helper.make_node("Cos", ["a"], ["c"]),
    ]
    assert angles(nodes) == {"a"}
    assert angles(nodes[:2]) == frozenset()


def test_anchors_stay() -> None:
    nodes = [("Mul", ["x", "anchors"], ["a"]), ("Add", ["a", "bias"], ["y"])]
    constants = {"anchors": np.array([10, 13, 16, 30], np.float32), "bias": floats(4)}
    assert _trained(nodes, constants) == {"bias"}


def test_numbers_of_regions_that_make_a_mask_are_not_trained() -> None:
    nodes = [
        ("ScatterND", ["map", "where", "numbers"], ["regions"]),
        ("Sub", ["regions", "turned"], ["apart"]),
        ("Equal", ["apart", "zero"], ["same"]),
        ("Where", ["same", "apart", "low"], ["mask"]),
        ("Add", ["x", "mask"], ["y"]),
    ]
    constants = {
        "map": np.zeros((4, 4), np.float32),
        "where": np.array([[1], [2]]),
        "numbers": np.ones((2, 4), np.float32),
        "turned": np.zeros((4, 4), np.float32),
        "zero": np.array(0, np.float32),
        "low": np.array(-100, np.float32),
    }
    assert _trained(nodes, constants) == set()


def test_sines_and_cosines_of_positions_are_not_trained() -> None:
    angle = np.arange(3)[:, None] * np.array([1.0, 0.3, 0.1, 0.03])
    nodes = [
        ("Mul", ["x", "cosine"], ["a"]),
        ("Mul", ["x", "sine"], ["b"]),
        ("Add", ["a", "b"], ["c"]),
        ("Mul", ["c", "gain"], ["d"]),
        ("Add", ["d", "shift"], ["y"]),
    ]
    constants = {
        "cosine": np.cos(angle).astype(np.float32),
        "sine": np.sin(angle).astype(np.float32),
        "gain": np.ones((3, 4), np.float32),
        "shift": np.zeros((3, 4), np.float32),
    }
    assert _trained(nodes, constants) == {"gain", "shift"}
    constants["sine"] = constants["sine"] + np.float32(0.1)
    assert _trained(nodes, constants) == set(constants)
