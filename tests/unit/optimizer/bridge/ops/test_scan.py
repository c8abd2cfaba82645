"""Scan against ONNX Runtime: axes, directions, weights that are scanned, the form of opset 8."""

import numpy as np
import pytest

from tests.unit.optimizer.bridge.onnx_models import floats
from tests.unit.optimizer.bridge.ops.test_control import check, gradients, model

CELL = """b (float[N,4] s, float[N,3] p) => (float[N,4] s2, float[N,4] o)
{ a = MatMul (p, u) b = MatMul (s, w) c = Add (a, b) s2 = Tanh (c) o = Sub (s2, s) }"""


@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("out_backwards", [0, 1])
@pytest.mark.parametrize(("axis", "out_axis"), [(1, 0), (-2, 2), (1, -1)])
def test_scan_axes_and_directions(
    backwards: int, out_backwards: int, axis: int, out_axis: int
) -> None:
    attributes = f"""num_scan_inputs = 1, scan_input_axes = [{axis}],
    scan_input_directions = [{backwards}], scan_output_axes = [{out_axis}],
    scan_output_directions = [{out_backwards}]"""
    nodes = f"y, z = Scan <body: graph = {CELL}, {attributes}> (h, x)"
    tested = model(
        "float[N,T,3] x, float[N,4] h",
        "float[N,4] y, float[P,Q,R] z",
        nodes,
        u=floats(3, 4),
        w=floats(4, 4),
    )
    feeds = [{"x": floats(2, length, 3), "h": floats(2, 4)} for length in (5, 1)]
    imported = check(tested, *feeds)
    assert set(gradients(imported, feeds[0])) == {"u", "w"}


def test_a_scan_over_the_weights_of_layers() -> None:
    cell = "b (float[N,4] s, float[4,4] m) => (float[N,4] s2) { p = MatMul (s, m) s2 = Tanh (p) }"
    nodes = f"y = Scan <body: graph = {cell}, num_scan_inputs = 1> (x, layers)"
    tested = model("float[N,4] x", "float[N,4] y", nodes, layers=floats(6, 4, 4))
    imported = check(tested, {"x": floats(2, 4)})
    assert set(gradients(imported, {"x": floats(2, 4)})) == {"layers"}


@pytest.mark.parametrize("lengths", [None, (5, 2)])
@pytest.mark.parametrize("backwards", [0, 1])
def test_the_batched_scan_of_opset_8(lengths: tuple[int, ...] | None, backwards: int) -> None:
    cell = """b (float[4] s, float[3] p) => (float[4] s2, float[4] o)
    { a = MatMul (p, u) b = MatMul (s, w) c = Add (a, b) s2 = Tanh (c) o = Sub (s2, s) }"""
    first = '""' if lengths is None else "lengths"
    declared = "" if lengths is None else ", int64[2] lengths"
    attributes = f"num_scan_inputs = 1, directions = [{backwards}]"
    tested = model(
        f"float[2,5,3] x, float[2,4] h{declared}",
        "float[2,4] y, float[2,5,4] z",
        f"y, z = Scan <body: graph = {cell}, {attributes}> ({first}, h, x)",
        opset=8,
        u=floats(3, 4),
        w=floats(4, 4),
    )
    feeds = {"x": floats(2, 5, 3), "h": floats(2, 4)}
    if lengths is not None:
        feeds["lengths"] = np.array(lengths, np.int64)
    imported = check(tested, feeds)
    assert set(gradients(imported, feeds)) == {"u", "w"}
