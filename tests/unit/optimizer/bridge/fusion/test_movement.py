import numpy as np
import pytest
import torch

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.fusion.patterns import assert_fused, calls, floats, network
from tests.unit.optimizer.bridge.onnx_models import assert_same, run_imported, run_ort

X = floats(3, 4, 5, 6)
TARGETS = {"t1": np.array([0, 20, 6]), "t2": np.array([-1, 2, 10, 6]), "t3": np.array([0, 4, 5, 6])}


def test_two_transpositions_are_one() -> None:
    lines = "n = Neg(x)\na = Transpose(n)\ny = Transpose(a)"
    model = network(lines, ("n", 4, 5, 6), {}, a={"perm": [0, 2, 3, 1]}, y={"perm": [1, 0, 3, 2]})
    plain = import_model(model, fuse=False)
    assert calls(plain, torch.permute) == 2
    fused = import_model(model)
    assert calls(fused, torch.permute) == 1
    assert_same(run_imported(fused, {"x": X}), run_ort(model, {"x": X}))


def test_what_undoes_itself_goes() -> None:
    lines = "n = Neg(x)\na = Transpose(n)\nb = Transpose(a)\nc = Reshape(b, t3)\ny = Abs(c)"
    attributes = {"a": {"perm": [0, 2, 3, 1]}, "b": {"perm": [0, 3, 1, 2]}}
    model = network(lines, ("n", 4, 5, 6), {"t3": TARGETS["t3"]}, **attributes)
    fused = import_model(model)
    assert [node.target for node in fused.module.graph.nodes if node.op == "call_function"] == [
        torch.neg,
        torch.abs,
    ]
    assert_same(run_imported(fused, {"x": X}), run_ort(model, {"x": X}))


def test_the_last_of_two_reshapes_decides() -> None:
    targets = {name: TARGETS[name] for name in ("t1", "t2")}
    model = network("a = Reshape(x, t1)\ny = Reshape(a, t2)", ("n", 4, 5, 6), targets)
    fused = import_model(model)
    assert calls(fused, torch.reshape) == 1
    assert_same(run_imported(fused, {"x": X}), run_ort(model, {"x": X}))


def test_a_chain_that_is_read_inside_keeps_what_is_read() -> None:
    lines = "a = Transpose(x)\nb = Transpose(a)\nc = Transpose(a)\ny = Add(b, x)"
    order = {"perm": [0, 1, 3, 2]}
    model = network(lines, ("n", 4, 5, 6), {}, a=order, b=order, c=order, outputs=("y", "a", "c"))
    fused = import_model(model)
    assert_same(run_imported(fused, {"x": X}), run_ort(model, {"x": X}))


@pytest.mark.parametrize("lines", ["y = Transpose(x)", "y = Reshape(x, t3)"])
def test_an_output_is_not_the_input_itself(lines: str) -> None:
    attributes = {"y": {"perm": [0, 1, 2, 3]}} if "Transpose" in lines else {}
    targets = {"t3": TARGETS["t3"]} if "t3" in lines else {}
    model = network(lines, ("n", 4, 5, 6), targets, **attributes)
    x = torch.from_numpy(X)
    assert import_model(model).module(x) is not x


def test_relu_works_in_place_on_what_only_it_reads() -> None:
    weights = {"w": floats(4, 4, 3, 3, seed=1)}
    pads = {"pads": [1, 1, 1, 1]}
    lines = "a = Conv(x, w)\nb = Relu(a)\nc = Conv(b, w)\nd = Add(c, x)\ny = Relu(d)"
    model = network(lines, ("n", 4, 5, 6), weights, a=pads, c=pads)
    assert_fused(model, X, torch.relu_, times=2)


@pytest.mark.parametrize(
    "lines",
    [
        "y = Relu(x)",
        "a = Sigmoid(x)\ny = Relu(a)",
        "a = Add(x, x)\nb = Relu(a)\ny = Mul(a, b)",
        "a = Add(x, x)\nb = Reshape(a, t1)\ny = Relu(b)",
        "a = Mul(x, x)\ny = Relu(a)",
    ],
    ids=["input", "output is needed again", "read twice", "a view", "not on the list"],
)
def test_all_else_is_not_overwritten(lines: str) -> None:
    targets = {"t1": TARGETS["t1"]} if "t1" in lines else {}
    model = network(lines, ("n", 4, 5, 6), targets)
    imported = import_model(model)
    assert calls(imported, torch.relu_) == 0
    x = torch.from_numpy(X.copy()).requires_grad_()
    imported.module(x).sum().backward()
    assert torch.equal(x.detach(), torch.from_numpy(X))
