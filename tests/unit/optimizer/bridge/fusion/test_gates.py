from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.unit.optimizer.bridge.fusion.patterns import assert_fused, assert_left, floats, network

X = floats(3, 64) * 4
SIXTH = "0.16666667163372040"


@pytest.mark.parametrize(
    ("lines", "function"),
    [
        ("s = Sigmoid(x)\ny = Mul(x, s)", functional.silu),
        ("s = Sigmoid(x)\ny = Mul(s, x)", functional.silu),
        ("p = Softplus(x)\nt = Tanh(p)\ny = Mul(x, t)", functional.mish),
        ("s = HardSigmoid(x)\ny = Mul(x, s)", functional.hardswish),
        ("a = Add(x, 3)\nc = Clip(a, 0, 6)\nd = Div(c, 6)\ny = Mul(x, d)", functional.hardswish),
        ("a = Add(x, 3)\nc = Clip(a, 0, 6)\nd = Mul(x, c)\ny = Div(d, 6)", functional.hardswish),
        (
            f"a = Add(3, x)\nc = Clip(a, 0, 6)\nd = Mul(x, c)\ny = Mul(d, {SIXTH})",
            functional.hardswish,
        ),
        ("a = Add(x, 3)\nc = Clip(a, 0, 6)\ny = Div(c, 6)", functional.hardsigmoid),
    ],
)
def test_gates(lines: str, function: Callable[..., Any]) -> None:
    attributes = {"s": {"alpha": 1 / 6, "beta": 0.5}} if "HardSigmoid" in lines else {}
    model = network(lines, ("n", 64), {}, **attributes)
    assert_fused(model, X, function, calls_in_all=1)


@pytest.mark.parametrize(
    ("lines", "function"),
    [
        ("s = Sigmoid(x)\nz = Neg(x)\ny = Mul(z, s)", functional.silu),
        ("s = Sigmoid(x)\nz = Mul(x, s)\ny = Add(z, s)", functional.silu),
        ("p = Softplus(x)\nt = Tanh(p)\nz = Mul(x, t)\ny = Add(z, p)", functional.mish),
        ("s = HardSigmoid(x)\ny = Mul(x, s)", functional.hardswish),
        ("a = Add(x, 2)\nc = Clip(a, 0, 6)\nd = Div(c, 6)\ny = Mul(x, d)", functional.hardswish),
        ("a = Add(x, 3)\nc = Clip(a, 0, 5)\nd = Div(c, 6)\ny = Mul(x, d)", functional.hardsigmoid),
        ("a = Add(x, 3)\nc = Clip(a, 0, 6)\nd = Mul(x, c)\ny = Div(d, 5)", functional.hardswish),
        (
            "a = Add(x, 3)\nc = Clip(a, 0, 6)\nd = Div(6, c)\nm = Clip(d, -9, 9)\ny = Mul(x, m)",
            functional.hardsigmoid,
        ),
    ],
)
def test_what_has_no_name_stays(lines: str, function: Callable[..., Any]) -> None:
    assert_left(network(lines, ("n", 64), {}), X, function)


def test_a_clip_from_zero_is_a_bounded_relu_with_its_gradient_at_the_bounds() -> None:
    model = network("y = Clip(x, 0, 6)", ("n", 64), {})
    fused = assert_fused(model, X, functional.hardtanh, calls_in_all=1)
    x = torch.tensor([[-1.0, 0.0, 3.0, 6.0, 7.0]], requires_grad=True)
    fused.module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("line", ["y = Clip(x, -1, 6)", "y = Clip(x, 0, )", "y = Clip(x, 0, -1)"])
def test_other_clips_stay(line: str) -> None:
    assert_left(network(line, ("n", 64), {}), X, functional.hardtanh)
