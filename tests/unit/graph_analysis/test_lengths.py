"""A length that becomes a factor of the data: cut where the factor is one number, else it stays."""

import onnx
import pytest

from graph_analysis import Analysis, analyze, load_model
from graph_analysis.testing import BATCH, GraphBuilder

SIZE = "H"


def scaled(*, size: int | str, picked: list[int]) -> Analysis:
    """Channels divided by the product of some of their own lengths."""
    graph = GraphBuilder("scaled", seed=1)
    y = graph.relu(graph.conv(graph.input((BATCH, 3, size, size)), 3, 16))
    lengths = graph.node("Gather", graph.node("Shape", y), graph.constant(picked), axis=0)
    floats = graph.node("Cast", lengths, to=onnx.TensorProto.FLOAT)
    y = graph.node("Div", y, graph.node("ReduceProd", floats, axes=[0], keepdims=0))
    graph.classify(y, 16)
    return analyze(load_model(graph.build().SerializeToString()))


def apart() -> Analysis:
    """The width is a number of its own, but meets the free height before it meets data."""
    graph = GraphBuilder("apart", seed=2)
    y = graph.relu(graph.conv(graph.input((BATCH, 3, SIZE, SIZE)), 3, 16))
    width, height = (
        graph.node(
            "Cast", graph.node("Gather", graph.node("Shape", y), graph.constant([axis])), to=1
        )
        for axis in (1, 2)
    )
    graph.classify(graph.node("Div", y, graph.node("Mul", width, height)), 16)
    return analyze(load_model(graph.build().SerializeToString()))


@pytest.mark.parametrize(
    ("size", "picked", "can_go"),
    [
        (8, [1], True),
        (8, [1, 2], True),
        (SIZE, [1], True),
        (SIZE, [1, 2], False),
        (8, [0, 1], False),
    ],
)
def test_a_factor_that_a_free_axis_changes_keeps_the_length(
    size: int | str, picked: list[int], can_go: bool
) -> None:
    analysis = scaled(size=size, picked=picked)
    assert [group.units for group in analysis.space.groups] == ([16] if can_go else [])
    reasons = {entry.reason for entry in analysis.space.frozen}
    assert any("turns its length into a factor" in reason for reason in reasons) is not can_go


def test_several_numbers_stay_lengths() -> None:
    graph = GraphBuilder("several", seed=3)
    y = graph.gemm(graph.input((BATCH, 8)), 8, 16)
    lengths = graph.node("Gather", graph.node("Shape", y), graph.constant([1] * 16), axis=0)
    y = graph.node("Div", y, graph.node("Cast", lengths, to=onnx.TensorProto.FLOAT))
    graph.output(graph.gemm(y, 16, 10), (BATCH, 10))
    assert not analyze(load_model(graph.build().SerializeToString())).space.groups


def test_a_number_that_meets_a_free_length_on_its_way_stays() -> None:
    assert not apart().space.groups


def test_a_small_table_of_positions_is_a_weight() -> None:
    """Lengths choose its rows, so its values are known; they are trained all the same."""
    graph = GraphBuilder("positions")
    x = graph.linear(graph.input((BATCH, 4, 5)), 5, 6)
    length = graph.node("Gather", graph.node("Shape", x), graph.constant(1), axis=0)
    rows = graph.node("Range", graph.constant(0), length, graph.constant(1))
    places = graph.node("Gather", graph.weight(8, 6, name="table"), rows, axis=0)
    graph.output(graph.linear(graph.node("Add", x, places), 6, 3), (BATCH, 4, 3))
    analysis = analyze(load_model(graph.build().SerializeToString()))
    (table,) = [n for n in analysis.graph.initializers if n.startswith("table")]
    assert table in analysis.costs.parameters
    assert analysis.costs.item_bytes[table] == 4
