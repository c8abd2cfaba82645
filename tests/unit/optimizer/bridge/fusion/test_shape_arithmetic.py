import numpy as np
import pytest
import torch
from torch import fx

from optimizer.bridge import host
from optimizer.bridge.fusion.shape_arithmetic import merge_shape_arithmetic
from optimizer.bridge.fusion.view import GraphView
from optimizer.bridge.module import import_model
from optimizer.bridge.writer import PROBES
from tests.unit.optimizer.bridge.fusion.patterns import calls, floats, network
from tests.unit.optimizer.bridge.onnx_models import assert_same, run_imported, run_ort

LINES = """
s = Shape(x)
u = Shape(x)
n = Gather(s, zero)
m = Gather(u, zero)
t = Concat(n, size)
k = Concat(m, size)
a = Reshape(x, t)
b = Reshape(x, k)
y = Add(a, b)
"""


def test_the_same_sizes_are_asked_for_once() -> None:
    weights = {"zero": np.array([0]), "size": np.array([12])}
    axis = {"axis": 0}
    model = network(LINES, ("n", 3, 4), weights, n=axis, m=axis, t=axis, k=axis)
    plain, merged = import_model(model, fuse=False), import_model(model)
    assert calls(plain, host.shape_of) == 2
    assert calls(merged, host.shape_of) == 1
    assert calls(merged, host.join) == calls(plain, host.join) / 2
    for batch in (2, 5):
        x = floats(batch, 3, 4)
        assert_same(run_imported(merged, {"x": x}), run_ort(model, {"x": x}))


def test_numbers_of_other_types_are_other_numbers() -> None:
    lines = "s = Shape(x)\na = Cast(s)\nb = Cast(s)\nc = Cast(a)\nd = Mul(b, 1.5)\ny = Add(c, d)"
    types = {"a": {"to": 7}, "b": {"to": 1}, "c": {"to": 1}}
    model = network(lines, ("n", 3, 4), {}, **types)
    x = floats(2, 3, 4)
    assert_same(run_imported(import_model(model), {"x": x}), run_ort(model, {"x": x}))


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [(1, 1, 1), (1, 1.0, 0), (1, True, 0), (0.0, -0.0, 0), ((1, 2), (1, 2.0), 0)],
)
def test_calls_are_equal_if_their_numbers_are_of_one_type(
    one: object, other: object, merged: int
) -> None:
    graph = fx.Graph()
    made = [graph.call_function(host.join, (number,)) for number in (one, other)]
    for node in made:
        node.meta[PROBES] = ((1,), (1,))
    graph.output(tuple(made))
    assert merge_shape_arithmetic(GraphView(graph, torch.nn.Module())) == merged
