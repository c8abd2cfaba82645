from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch.nn import functional

from optimizer.bridge.fusion.attention import attend
from tests.unit.optimizer.bridge.fusion.patterns import (
    assert_fused,
    assert_left,
    floats,
    network,
)

X = floats(3, 5, 8)
LAST = {"axes": [-1]}
ATTRIBUTES = {"k": {"perm": [0, 2, 1]}, "p": {"axis": -1}, "v": LAST}
GELU = "a = Div(x, number)\nt = Erf(a)\ng = Add(t, 1)\nm = Mul(x, g)\ny = Mul(m, 0.5)"
RMS = "s = Mul(x, x)\nv = ReduceMean(s)\ne = Add(v, 0.001)\nr = Sqrt(e)\nq = Div(number, r)\n"
HARD = "a = Add(x, 3)\nc = Clip(a, 0, 6)\nd = Mul(x, c)\ny = Div(d, number)"
KEYS, END = "k = Transpose(x)\n", "\np = Softmax(s)\ny = MatMul(p, x)"
CASES = (
    (GELU, 2**0.5, functional.gelu),
    ("a = Add(x, number)\nc = Clip(a, 0, 6)\ny = Div(c, 6)", 3.0, functional.hardsigmoid),
    (HARD, 6.0, functional.hardswish),
    (KEYS + "z = MatMul(x, k)\ns = Mul(z, number)" + END, 0.3, attend),
    (KEYS + "q = Mul(x, number)\ns = MatMul(q, k)" + END, 0.3, attend),
    (RMS + "n = Mul(x, q)\ny = Mul(n, scale)", 1.0, functional.rms_norm),
)
IDS = ["gelu", "hard sigmoid", "hard swish", "scores", "queries", "rms norm"]


@pytest.mark.parametrize(("lines", "number", "function"), CASES, ids=IDS)
@pytest.mark.parametrize("axes", [0, 1, 3])
def test_a_number_may_have_as_many_axes_as_the_tensor(
    lines: str, number: float, function: Callable[..., Any], axes: int
) -> None:
    weights = {"number": np.full((1,) * axes, number, np.float32), "scale": floats(8)}
    weights = {name: array for name, array in weights.items() if name in lines}
    assert_fused(network(lines, ("n", 5, 8), weights, **_of(lines)), X, function)


@pytest.mark.parametrize(("lines", "number", "function"), CASES, ids=IDS)
def test_a_number_that_gives_the_result_another_axis_stays(
    lines: str, number: float, function: Callable[..., Any]
) -> None:
    weights = {"number": np.full((1, 1, 1, 1), number, np.float32), "scale": floats(8)}
    weights = {name: array for name, array in weights.items() if name in lines}
    model = network(lines, ("n", 5, 8), weights, **_of(lines))
    assert_left(model, X, function)


def _of(lines: str) -> dict[str, Any]:
    return {name: value for name, value in ATTRIBUTES.items() if f"{name} = " in lines}
