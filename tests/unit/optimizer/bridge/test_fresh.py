"""What weights start with from scratch: by operator, slot, and the way there."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from optimizer.bridge.fresh import ONES, ZEROS, Fresh, fresh_weights, redraw
from optimizer.bridge.module import import_model


def graph_of(
    nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], given: str = "x"
) -> onnx.GraphProto:
    tensors = [
        numpy_helper.from_array(np.full(shape, 0.5, np.float32), name)
        for name, shape in weights.items()
    ]
    inputs = [helper.make_tensor_value_info(given, TensorProto.FLOAT, None)]
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    return helper.make_graph(nodes, "g", inputs, outputs, tensors)


def rules(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]]) -> dict[str, Fresh]:
    return dict(fresh_weights(graph_of(nodes, weights), set(weights)))


def node(kind: str, *inputs: str, domain: str = "", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), ["y"], domain=domain, **attributes)


def normal(deviation: float) -> Fresh:
    return Fresh("normal", pytest.approx(deviation))


HE = math.sqrt(2.0)


@pytest.mark.parametrize(
    ("one", "weights", "expected"),
    [
        (
            node("Conv", "x", "w", "b"),
            {"w": (8, 4, 3, 3), "b": (8,)},
            {"w": normal(HE / 6), "b": ZEROS},
        ),
        (node("Conv", "x", "w", group=8), {"w": (8, 1, 3, 3)}, {"w": normal(HE / 3)}),
        (
            node("ConvTranspose", "x", "w", "b", strides=[2, 2], group=2),
            {"w": (8, 4, 4, 4), "b": (8,)},
            {"w": normal(HE / 4), "b": ZEROS},
        ),
        (
            node("Gemm", "x", "w", "b", transB=1),
            {"w": (8, 16), "b": (8,)},
            {"w": normal(1 / 4), "b": ZEROS},
        ),
        (node("Gemm", "x", "w"), {"w": (16, 8)}, {"w": normal(1 / 4)}),
        (node("Gemm", "w", "x"), {"w": (8, 16)}, {"w": normal(1 / 4)}),
        (node("MatMul", "x", "w"), {"w": (2, 16, 8)}, {"w": normal(1 / 4)}),
        (node("MatMul", "w", "x"), {"w": (8, 16)}, {"w": normal(1 / 4)}),
        (node("Einsum", "x", "w", equation="bi,oi->bo"), {"w": (8, 16)}, {"w": normal(1 / 4)}),
        (node("Einsum", "x", "w", equation="...i,oi"), {"w": (8, 16)}, {}),
        (
            node("BatchNormalization", "x", "w", "b", "m", "v"),
            {"w": (4,), "b": (4,), "m": (4,), "v": (4,)},
            {"w": ONES, "b": ZEROS, "m": ZEROS, "v": ONES},
        ),
        (
            node("LayerNormalization", "x", "w", "b"),
            {"w": (4,), "b": (4,)},
            {"w": ONES, "b": ZEROS},
        ),
        (node("PRelu", "x", "w"), {"w": (4,)}, {"w": Fresh("constant", 0.25)}),
        (node("Gather", "w", "x"), {"w": (99, 16)}, {"w": Fresh("normal", 0.02)}),
        (
            node("LSTM", "x", "w", "r", "b", "", "h", hidden_size=16),
            {"w": (1, 64, 3), "r": (1, 64, 16), "b": (1, 128), "h": (1, 1, 16)},
            {
                **dict.fromkeys(("w", "r", "b"), Fresh("uniform", 0.25)),
                "h": ZEROS,
            },
        ),
        (node("Add", "x", "w"), {"w": (1, 4)}, {"w": ZEROS}),
        (node("Add", "x", "w"), {"w": (1, 9, 4)}, {"w": Fresh("normal", 0.02)}),
        (node("Concat", "x", "w", axis=1), {"w": (1, 1, 4)}, {"w": Fresh("normal", 0.02)}),
        (node("Mul", "x", "w"), {"w": (4, 1, 1)}, {"w": ONES}),
        (
            node("Attention", "x", "w", "b", domain="com.microsoft"),
            {"w": (16, 48), "b": (48,)},
            {"w": normal(1 / 4), "b": ZEROS},
        ),
        (
            node("SkipLayerNormalization", "x", "x", "w", "b", "c", domain="com.microsoft"),
            {"w": (4,), "b": (4,), "c": (4,)},
            {"w": ONES, "b": ZEROS, "c": ZEROS},
        ),
        (node("Where", "x", "w", "w"), {"w": (4,)}, {}),
        (node("Conv", "x", "w", domain="my.own"), {"w": (8, 4, 3, 3)}, {}),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_each_operator_has_its_rule(
    one: onnx.NodeProto, weights: dict[str, tuple[int, ...]], expected: dict[str, Fresh]
) -> None:
    assert rules([one], weights) == expected


def test_an_activation_behind_a_product_asks_for_more() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    assert rules(nodes, {"w": (16, 8), "b": (8,)}) == {"w": normal(HE / 4), "b": ZEROS}


def test_a_weight_is_followed_through_movement_and_standardisation() -> None:
    nodes = [
        helper.make_node("Sub", ["w", "mean"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    graph = graph_of(nodes, {"w": (8, 16), "mean": (8, 1)})
    assert dict(fresh_weights(graph, {"w"})) == {"w": normal(1 / 4)}


def test_behind_a_function_a_weight_keeps_its_values() -> None:
    nodes = [helper.make_node("Exp", ["w"], ["e"]), helper.make_node("Mul", ["x", "e"], ["y"])]
    assert rules(nodes, {"w": (4,)}) == {}


def test_an_embedding_that_is_also_a_product_is_an_embedding() -> None:
    nodes = [
        helper.make_node("Gather", ["w", "x"], ["a"]),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "t"], ["y"]),
    ]
    assert rules(nodes, {"w": (99, 16)}) == {"w": Fresh("normal", 0.02)}


def test_what_does_not_train_is_left_alone_but_for_running_statistics() -> None:
    one = node("BatchNormalization", "x", "w", "b", "m", "v")
    graph = graph_of([one], dict.fromkeys("wbmv", (4,)))
    assert set(fresh_weights(graph, set())) == {"m", "v"}


def test_draws_are_those_of_the_seed_and_have_the_spread_of_the_rule() -> None:
    fresh = {
        "a": Fresh("normal", 0.5),
        "b": Fresh("uniform", 0.25),
        "c": Fresh("constant", 0.25),
        "gone": ONES,
    }
    found = []
    for seed in (0, 0, 1):
        tensors = {name: torch.nn.Parameter(torch.full((50, 40), 9.0)) for name in "abcd"}
        assert redraw(tensors, fresh, seed=seed) == ("d",)
        found.append(tensors)
    first, again, other = found
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["a"], other["a"])
    assert float(first["a"].detach().std()) == pytest.approx(0.5, rel=0.05)
    assert float(first["b"].detach().abs().max()) <= 0.25
    assert float(first["b"].detach().std()) == pytest.approx(0.25 / math.sqrt(3), rel=0.05)
    assert set(first["c"].detach().flatten().tolist()) == {0.25}
    assert set(first["d"].detach().flatten().tolist()) == {9.0}


def test_half_precision_and_other_layouts_are_filled_too() -> None:
    one = torch.nn.Parameter(torch.ones(4, 3, 2, 2).half().to(memory_format=torch.channels_last))
    other = torch.nn.Parameter(torch.ones(4, 3, 2, 2).half())
    for tensor in (one, other):
        redraw({"w": tensor}, {"w": Fresh("normal", 1.0)}, seed=3)
    assert torch.equal(one, other)


def test_signals_keep_their_size_through_a_deep_network(tmp_path: Path) -> None:
    """Twelve convolutions with ReLU, drawn anew: the last output is as large as the first."""
    rng, weights, nodes, here = np.random.default_rng(0), {}, [], "x"
    for layer in range(12):
        weights[f"w{layer}"] = (32, 32, 3, 3)
        nodes.append(helper.make_node("Conv", [here, f"w{layer}"], [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        here = f"r{layer}"
    graph = graph_of(nodes, weights)
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 32, 16, 16])
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    imported = import_model(model)
    assert redraw(imported.tensors, imported.fresh, seed=0) == ()
    x = torch.from_numpy(rng.normal(0, 1, (4, 32, 16, 16)).astype(np.float32))
    with torch.no_grad():
        size = float(imported.module(x).square().mean().sqrt())
    assert 0.2 < size < 2.0
