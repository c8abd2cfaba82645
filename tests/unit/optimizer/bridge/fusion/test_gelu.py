import pytest
from torch.nn import functional

from tests.unit.optimizer.bridge.fusion.patterns import assert_fused, assert_left, floats, network

X = floats(3, 64) * 3
ARGUMENTS = ("a = Div(x, 1.4142135381698608)", "a = Mul(x, 0.7071067690849304)")
ENDS = (
    "m = Mul(x, p)\ny = Mul(m, 0.5)",
    "m = Mul(x, 0.5)\ny = Mul(m, p)",
    "m = Mul(p, 0.5)\ny = Mul(x, m)",
    "m = Mul(x, p)\ny = Div(m, 2)",
    "m = Div(x, 2)\ny = Mul(p, m)",
)
CUBES = ("c = Pow(x, 3)", "q = Mul(x, x)\nc = Mul(x, q)", "q = Mul(x, x)\nc = Mul(q, x)")
BEND = "\nk = Mul(c, 0.044714998453855515)\nz = Add(x, k)\na = Mul(z, 0.7978845834732056)\n"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_the_exact_form(argument: str, end: str) -> None:
    model = network(f"{argument}\nt = Erf(a)\np = Add(t, 1)\n{end}", ("n", 64), {})
    fused = assert_fused(model, X, functional.gelu, calls_in_all=1)
    (node,) = [n for n in fused.module.graph.nodes if n.target is functional.gelu]
    assert node.kwargs == {"approximate": "none"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("cube", CUBES)
def test_the_form_by_tanh(cube: str, end: str) -> None:
    model = network(f"{cube}{BEND}t = Tanh(a)\np = Add(1, t)\n{end}", ("n", 64), {})
    fused = assert_fused(model, X, functional.gelu, calls_in_all=1)
    (node,) = [n for n in fused.module.graph.nodes if n.target is functional.gelu]
    assert node.kwargs == {"approximate": "tanh"}


@pytest.mark.parametrize(
    "lines",
    [
        "a = Div(x, 1.41)\nt = Erf(a)\np = Add(t, 1)\n" + ENDS[0],
        "a = Div(1.4142135381698608, x)\nt = Erf(a)\np = Add(t, 1)\n" + ENDS[0],
        ARGUMENTS[0] + "\nt = Erf(a)\np = Add(t, 2)\n" + ENDS[0],
        ARGUMENTS[0] + "\nt = Erf(a)\np = Sub(1, t)\n" + ENDS[0],
        ARGUMENTS[0] + "\nt = Erf(a)\np = Add(t, 1)\nm = Mul(x, p)\ny = Mul(m, 0.25)",
        ARGUMENTS[0] + "\nt = Erf(a)\np = Add(t, 1)\nm = Mul(a, p)\ny = Mul(m, 0.5)",
        ARGUMENTS[0] + "\nt = Erf(a)\np = Add(t, 1)\nm = Mul(p, 0.5)\ny = Mul(m, 0.5)",
        ARGUMENTS[0] + "\nt = Erf(a)\np = Add(t, 1)\nm = Mul(x, p)\ny = Div(0.5, m)",
        ARGUMENTS[0] + "\nt = Erf(a)\np = Add(t, 1)\nm = Mul(x, p)\nh = Mul(m, 0.5)\ny = Add(h, t)",
        CUBES[0] + BEND.replace("0.0447", "0.0440") + "t = Tanh(a)\np = Add(1, t)\n" + ENDS[0],
        "c = Pow(x, 2)" + BEND + "t = Tanh(a)\np = Add(1, t)\n" + ENDS[0],
        CUBES[0] + BEND + "t = Erf(a)\np = Add(1, t)\n" + ENDS[0],
    ],
)
def test_what_is_no_gelu_stays(lines: str) -> None:
    assert_left(network(lines, ("n", 64), {}), X, functional.gelu)
