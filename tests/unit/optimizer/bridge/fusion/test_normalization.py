import numpy as np
import pytest
from torch.nn import functional

from tests.unit.optimizer.bridge.fusion.patterns import assert_fused, assert_left, floats, network

X = floats(3, 5, 8) * 2 + 1
VECTORS = {"scale": floats(8, seed=1), "bias": floats(8, seed=2)}
LAST = {"axes": [-1], "keepdims": 1}
START = "m = ReduceMean(x)\nd = Sub(x, m)\n"
SQUARES = ("q = Pow(d, 2)", "q = Mul(d, d)")
TAIL = "\nv = ReduceMean(q)\ne = Add(v, 0.001)\nr = Sqrt(e)\n"
QUOTIENTS = (
    "n = Div(d, r)",
    "i = Reciprocal(r)\nn = Mul(d, i)",
    "i = Div(1.0, r)\nn = Mul(i, d)",
)
AFFINE = "\ns = Mul(n, scale)\ny = Add(s, bias)"


@pytest.mark.parametrize("quotient", QUOTIENTS)
@pytest.mark.parametrize("square", SQUARES)
def test_layer_norm_in_all_forms(square: str, quotient: str) -> None:
    model = network(START + square + TAIL + quotient + AFFINE, ("n", 5, 8), VECTORS, m=LAST, v=LAST)
    assert_fused(model, X, functional.layer_norm, calls_in_all=1)


@pytest.mark.parametrize("end", ["\ny = Mul(scale, n)", "\ny = Neg(n)", "\ny = Add(n, bias)"])
def test_layer_norm_without_scale_or_bias(end: str) -> None:
    lines = START + SQUARES[0] + TAIL + QUOTIENTS[0] + end
    weights = {name: array for name, array in VECTORS.items() if name in end}
    assert_fused(network(lines, ("n", 5, 8), weights, m=LAST, v=LAST), X, functional.layer_norm)


@pytest.mark.parametrize(
    "lines",
    [
        START + "q = Pow(d, 4)" + TAIL + QUOTIENTS[0] + AFFINE,
        START + SQUARES[0] + TAIL.replace("Add", "Sub") + QUOTIENTS[0] + AFFINE,
        START + SQUARES[0] + TAIL + "n = Div(r, d)" + AFFINE,
        START.replace("Sub(x, m)", "Sub(m, x)") + SQUARES[0] + TAIL + QUOTIENTS[0] + AFFINE,
        START + SQUARES[0] + TAIL + QUOTIENTS[0] + "\ns = Mul(n, d)\ny = Add(s, bias)",
        START + "z = Mul(d, scale)\nq = Mul(d, z)" + TAIL + QUOTIENTS[0] + AFFINE,
        START + "k = Mul(d, scale)\nq = Mul(d, d)" + TAIL + "n = Div(k, r)" + AFFINE,
    ],
    ids=[
        "fourth power",
        "minus",
        "upside down",
        "negated",
        "read twice",
        "weighted",
        "weighted after",
    ],
)
def test_what_is_no_layer_norm_stays(lines: str) -> None:
    x = np.abs(X) + 3
    weights = {"scale": np.abs(VECTORS["scale"]) + 0.1, "bias": VECTORS["bias"]}
    if "Sub(v" in lines:
        lines = lines.replace("r = Sqrt(e)", "g = Abs(e)\nr = Sqrt(g)")
    assert_left(network(lines, ("n", 5, 8), weights, m=LAST, v=LAST), x, functional.layer_norm)


@pytest.mark.parametrize("axes", [[1], [1, 2], [0]])
def test_other_axes_stay(axes: list[int]) -> None:
    over = {"axes": axes, "keepdims": 1}
    lines = START + SQUARES[0] + TAIL + QUOTIENTS[0] + AFFINE
    assert_left(network(lines, (3, 5, 8), VECTORS, m=over, v=over), X, functional.layer_norm)
    mixed = network(lines, (3, 5, 8), VECTORS, m=LAST, v=over)
    assert_left(mixed, X, functional.layer_norm)


def test_a_statistic_that_is_an_output_stays() -> None:
    lines = START + SQUARES[0] + TAIL + QUOTIENTS[0] + AFFINE
    for inner in ("m", "d", "v", "r"):
        model = network(lines, ("n", 5, 8), VECTORS, m=LAST, v=LAST, outputs=("y", inner))
        assert_left(model, X, functional.layer_norm)


@pytest.mark.parametrize("quotient", QUOTIENTS)
@pytest.mark.parametrize("square", SQUARES)
def test_rms_norm_in_all_forms(square: str, quotient: str) -> None:
    lines = (square + TAIL + quotient).replace("d,", "x,").replace("d)", "x)")
    lines += "\ny = Mul(scale, n)"
    model = network(lines, ("n", 5, 8), {"scale": VECTORS["scale"]}, v=LAST)
    assert_fused(model, X, functional.rms_norm, calls_in_all=1)


def test_the_masked_form_of_rms_norm_stays() -> None:
    lines = "s = Mul(x, x)\nq = Mul(s, m)\nv = ReduceMean(q)\ne = Add(v, 0.001)\nr = Sqrt(e)\n"
    lines += "i = Reciprocal(r)\nn = Mul(x, i)\ny = Mul(n, scale)"
    mask = np.asarray([1, 1, 0, 1, 1, 0, 1, 1], np.float32)
    model = network(lines, ("n", 5, 8), {"scale": VECTORS["scale"], "m": mask}, v=LAST)
    assert_left(model, X, functional.rms_norm)
