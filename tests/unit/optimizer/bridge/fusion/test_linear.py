import numpy as np
import pytest
from torch.nn import functional

from optimizer.bridge.fusion.linear import linear_of_columns
from tests.unit.optimizer.bridge.fusion.patterns import assert_fused, assert_left, floats, network

X = floats(3, 5, 8)
WEIGHTS = {"w": floats(8, 4, seed=1), "b": floats(4, seed=2)}


@pytest.mark.parametrize("line", ["y = Add(a, b)", "y = Add(b, a)"])
def test_a_product_and_its_bias_are_one_call(line: str) -> None:
    model = network(f"a = MatMul(x, w)\n{line}", ("n", 5, 8), WEIGHTS)
    assert_fused(model, X, linear_of_columns, calls_in_all=1)


def test_a_transposed_weight_is_taken_as_it_is() -> None:
    weights = WEIGHTS | {"w": floats(4, 8, seed=1)}
    lines = "t = Transpose(w)\na = MatMul(x, t)\ny = Add(a, b)"
    model = network(lines, ("n", 5, 8), weights, t={"perm": [1, 0]})
    assert_fused(model, X, functional.linear, calls_in_all=1)


@pytest.mark.parametrize(
    ("bias", "outputs"),
    [
        (floats(1), ("y",)),
        (floats(5, 1), ("y",)),
        (floats(5, 4), ("y",)),
        (floats(4), ("y", "a")),
    ],
    ids=["one number", "per row", "a table", "the product is an output"],
)
def test_other_sums_stay(bias: np.ndarray, outputs: tuple[str, ...]) -> None:
    lines = "a = MatMul(x, w)\ny = Add(a, b)"
    model = network(lines, ("n", 5, 8), WEIGHTS | {"b": bias}, outputs=outputs)
    assert_left(model, X, linear_of_columns)


def test_a_product_that_two_read_stays() -> None:
    model = network("a = MatMul(x, w)\nc = Add(a, b)\ny = Mul(c, a)", ("n", 5, 8), WEIGHTS)
    assert_left(model, X, linear_of_columns)


def test_a_stack_of_matrices_stays() -> None:
    weights = {"w": floats(3, 8, 4, seed=1), "b": floats(4, seed=2)}
    model = network("a = MatMul(x, w)\ny = Add(a, b)", (3, 5, 8), weights)
    assert_left(model, X, linear_of_columns)
