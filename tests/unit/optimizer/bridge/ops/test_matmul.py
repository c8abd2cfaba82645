from typing import Any

import pytest
import torch

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import assert_like_ort, floats, one_node


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
    ],
)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert_like_ort("MatMul", [floats(*left), floats(*right, seed=1)], constant=[1])
    assert_like_ort("MatMul", [floats(*left), floats(*right, seed=1)])


@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (3, 1), (3, 5), ()])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"transB": 1}, {"transA": 1}, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}],
)
def test_gemm(bias: tuple[int, ...] | None, attributes: dict[str, Any]) -> None:
    a = floats(4, 3) if attributes.get("transA") else floats(3, 4)
    b = floats(5, 4, seed=1) if attributes.get("transB") else floats(4, 5, seed=1)
    inputs = [a, b] if bias is None else [a, b, floats(*bias, seed=2).reshape(bias)]
    assert_like_ort("Gemm", inputs, constant=range(1, len(inputs)), **attributes)


def test_a_linear_layer_becomes_one() -> None:
    inputs = [floats(3, 4), floats(5, 4), floats(5)]
    imported = import_model(one_node("Gemm", inputs, constant=[1, 2], transB=1)[0])
    assert torch.nn.functional.linear in {node.target for node in imported.module.graph.nodes}


@pytest.mark.parametrize("equation", ["ij,jk->ik", "b i j, b j k -> b i k", "...ij->...ji"])
def test_einsum(equation: str) -> None:
    shapes = {"ij,jk->ik": [(2, 3), (3, 4)], "...ij->...ji": [(2, 3, 4)]}
    inputs = [floats(*shape) for shape in shapes.get(equation, [(2, 3, 4), (2, 4, 5)])]
    assert_like_ort("Einsum", inputs, equation=equation)


def test_the_weight_of_a_matmul_is_trained() -> None:
    imported = import_model(one_node("MatMul", [floats(2, 3), floats(3, 4)], constant=[1])[0])
    imported.module(torch.ones(2, 3)).sum().backward()
    torch.testing.assert_close(imported.tensors["x1"].grad, torch.full((3, 4), 2.0))
