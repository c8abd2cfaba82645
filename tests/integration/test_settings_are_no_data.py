"""Settings stay whole, do not train and arrive unchanged, whatever they are put together by."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.zoo.checking import choose_macs, largest_difference
from graph_analysis import Analysis, analyze, load_model
from graph_analysis.settings import Operation, only_settings, parts_of_settings
from graph_analysis.testing import BATCH, GraphBuilder
from optimizer.bridge.roles import trainable_initializers

Way = Callable[[GraphBuilder, Sequence[float]], str]
Setting = Callable[[GraphBuilder, str, Callable[..., str]], str]


def numbers(graph: GraphBuilder, values: Sequence[float]) -> str:
    return graph.constant(np.array(values, np.float32), name="part")


def places(values: Sequence[float]) -> np.ndarray:
    return np.arange(len(values))


def reversed_and_longer(graph: GraphBuilder, values: Sequence[float]) -> str:
    return graph.node(
        "Gather",
        numbers(graph, [*values[::-1], 7, 8]),
        graph.constant(places(values)[::-1].copy()),
        axis=0,
    )


def split(graph: GraphBuilder, values: Sequence[float]) -> str:
    sizes = graph.constant([len(values)] * 2)
    return graph.nodes("Split", numbers(graph, [*values, *values]), sizes, outputs=2, axis=0)[1]


WAYS: dict[str, Way] = {
    "itself": numbers,
    "Identity": lambda g, v: g.node("Identity", numbers(g, v)),
    "Cast": lambda g, v: g.node(
        "Cast", g.node("Cast", numbers(g, v), to=TensorProto.DOUBLE), to=TensorProto.FLOAT
    ),
    "Cast to integers": lambda g, v: g.node(
        "Cast", g.node("Cast", numbers(g, v), to=TensorProto.INT64), to=TensorProto.FLOAT
    ),
    "Concat": lambda g, v: g.node("Concat", *(numbers(g, [entry]) for entry in v), axis=0),
    "Mul": lambda g, v: g.node(
        "Mul", numbers(g, np.divide(v, 2).tolist()), numbers(g, [2.0] * len(v))
    ),
    "Max": lambda g, v: g.node("Max", numbers(g, v), numbers(g, [-9.0] * len(v))),
    "Floor": lambda g, v: g.node("Floor", numbers(g, np.add(v, 0.25).tolist())),
    "Gather": reversed_and_longer,
    "GatherElements": lambda g, v: g.node(
        "GatherElements", numbers(g, v), g.constant(places(v)), axis=0
    ),
    "GatherND": lambda g, v: g.node(
        "GatherND", numbers(g, v), g.constant(places(v)[:, None].copy())
    ),
    "ScatterElements": lambda g, v: g.node(
        "ScatterElements", numbers(g, [9, *v[1:]]), g.constant([0]), numbers(g, v[:1]), axis=0
    ),
    "Slice": lambda g, v: g.slice(numbers(g, [9, *v, 3]), [0], [1], ends=[1 + len(v)]),
    "Split": split,
    "Unsqueeze": lambda g, v: g.reshape(
        g.node("Unsqueeze", numbers(g, v), g.constant([0])), [len(v)]
    ),
    "Squeeze": lambda g, v: g.node("Squeeze", g.constant(np.array([v], float)), g.constant([0])),
    "Expand": lambda g, v: g.node(
        "Mul", numbers(g, v), g.node("Expand", numbers(g, [1.0]), g.constant([len(v)]))
    ),
    "Tile": lambda g, v: g.slice(
        g.node("Tile", numbers(g, v), g.constant([2])), [0], [0], ends=[len(v)]
    ),
    "Pad": lambda g, v: g.slice(
        g.node("Pad", numbers(g, v), g.constant([1, 1])), [0], [1], ends=[1 + len(v)]
    ),
    "MatMul": lambda g, v: g.node("MatMul", numbers(g, v), g.constant(np.eye(len(v)))),
    "ReduceSum": lambda g, v: g.node(
        "ReduceSum", g.constant(np.array([v, np.zeros(len(v))])), g.constant([0]), keepdims=0
    ),
    "Where": lambda g, v: g.node(
        "Where",
        g.node("Greater", numbers(g, v), numbers(g, [-9.0] * len(v))),
        numbers(g, v),
        numbers(g, [0.0] * len(v)),
    ),
}


def integers(graph: GraphBuilder, name: str) -> str:
    return graph.node("Cast", name, to=TensorProto.INT64)


def ones_and_halves(graph: GraphBuilder, shape: str) -> str:
    return graph.node("ConstantOfShape", shape, value=helper.make_tensor("v", 1, [1], [1.5]))


# on a tensor of 4 channels and 8 x 8 positions: what is set, through the way given
SETTINGS: dict[str, Setting] = {
    "scales": lambda g, x, s: g.node("Resize", x, "", s(1, 1, 2, 2), mode="nearest"),
    "sizes": lambda g, x, s: g.node(
        "Resize", x, "", "", integers(g, s(2, 4, 16, 16)), mode="nearest"
    ),
    "roi": lambda g, x, s: g.node(
        "Resize",
        x,
        s(0, 0, 0, 0, 1, 1, 1, 1),
        g.constant(np.array([1, 1, 2, 2], np.float32)),
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    "shape": lambda g, x, s: g.node(
        "Reshape",
        g.node("Reshape", x, integers(g, s(0, 4, 64))),
        integers(g, s(0, 4, 8, 8)),
    ),
    "shape of Expand": lambda g, x, s: g.node(
        "Expand", g.node("ReduceMean", x, axes=[2, 3]), integers(g, s(1, 4, 8, 8))
    ),
    "shape of a constant": lambda g, x, s: g.node(
        "Mul", x, ones_and_halves(g, integers(g, s(4, 1, 1)))
    ),
    "pads": lambda g, x, s: g.node("Pad", x, integers(g, s(0, 0, 1, 1, 0, 0, 1, 1))),
    "repeats": lambda g, x, s: g.node("Tile", x, integers(g, s(1, 1, 2, 2))),
    "bounds": lambda g, x, s: g.node(
        "Slice", x, *(integers(g, s(*entry)) for entry in ((1, 1), (7, 7), (2, 3), (1, 2)))
    ),
    "split": lambda g, x, s: g.node(
        "Concat", *g.nodes("Split", x, integers(g, s(3, 1)), outputs=2, axis=1), axis=1
    ),
    "axes": lambda g, x, s: g.node(
        "Unsqueeze",
        g.node("ReduceSum", x, integers(g, s(2, 3)), keepdims=0),
        integers(g, s(2, 3)),
    ),
    "k": lambda g, x, s: g.nodes("TopK", x, integers(g, s(4)), outputs=2, axis=3)[0],
    "indices": lambda g, x, s: g.node("Gather", x, integers(g, s(3, 2, 1, 0)), axis=1),
}


def model_of(setting: str, way: str) -> onnx.ModelProto:
    """Two convolutions, and an operator that is set in a certain way by float constants."""
    graph = GraphBuilder("settings", seed=1)
    batch = 2 if setting == "sizes" else BATCH
    x = graph.relu(graph.conv(graph.input((batch, 3, 8, 8)), 3, 8))
    x = graph.conv(x, 8, 4)
    x = SETTINGS[setting](graph, x, lambda *values: WAYS[way](graph, values))
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    graph.output(graph.gemm(pooled, 4, 10), (batch, 10))
    return graph.build()


def analysed(setting: str, way: str) -> Analysis:
    return analyze(load_model(model_of(setting, way).SerializeToString()))


def parts(analysis: Analysis) -> set[str]:
    names = set(analysis.graph.initializers)
    return {name for name in names if not name.startswith(("weight", "bias"))}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_part_of_a_setting_is_a_unit_or_a_parameter(setting: str, way: str) -> None:
    analysis = analysed(setting, way)
    groups = analysis.space.groups
    touched = {s.initializer for group in groups for s in (*group.zero, *group.cut)}
    assert not touched & parts(analysis)
    assert not analysis.costs.parameters & parts(analysis)
    assert not trainable_initializers(analysis.loaded.flat.graph) & parts(analysis)
    assert sorted(group.units for group in groups if group.units > 1)[-1] == 8


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("setting", ["shape", "sizes", "shape of Expand", "split", "indices"])
def test_a_setting_of_what_is_cut_is_written_anew(setting: str, way: str) -> None:
    analysis = analysed(setting, way)
    solution = choose_macs(analysis, 0.6, 0).solution
    assert solution is not None
    batches = (2,) if setting == "sizes" else (1, 3)
    assert largest_difference(analysis, solution, batches=batches) < 1e-5


def test_what_is_also_data_stays_whole_and_trains() -> None:
    """Two numbers are bounds of a Slice and are multiplied with data as well."""
    graph = GraphBuilder("both", seed=1)
    x = graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 4)
    both = graph.constant(np.array([1.0, 2.0, 1.0, 2.0], np.float32), name="both")
    x = graph.node("Mul", x, graph.reshape(both, [4, 1, 1]))
    x = graph.node("Tile", x, integers(graph, both))
    graph.classify(graph.slice(x, [1], [4]), 4)
    analysis = analyze(load_model(graph.build().SerializeToString()))
    touched = {s.initializer for group in analysis.space.groups for s in (*group.zero, *group.cut)}
    name = next(n for n in analysis.graph.initializers if n.startswith("both"))
    assert name not in touched
    assert name in analysis.costs.parameters


def test_many_indices_are_read_as_few_are() -> None:
    """More of them than weights that the surgeon looks at."""
    graph = GraphBuilder("shuffled", seed=1)
    x = graph.conv(graph.input((BATCH, 3, 8, 8)), 3, 32)
    order = numbers(graph, np.random.default_rng(0).permutation(32).tolist())
    x = graph.node("Gather", x, integers(graph, order), axis=1)
    graph.classify(graph.relu(graph.conv(x, 32, 6)), 6)
    analysis = analyze(load_model(graph.build().SerializeToString()))
    solution = choose_macs(analysis, 0.6, 0).solution
    assert solution is not None
    assert largest_difference(analysis, solution) < 1e-5


def test_what_is_computed_from_data_ends_the_way_back() -> None:
    operations = (
        Operation("MatMul", ("x", "w"), ("y",)),
        Operation("Mul", ("y", "c"), ("k",)),
        Operation("Shape", ("y",), ("lengths",)),
        Operation("Mul", ("lengths", "d"), ("shape",)),
        Operation("TopK", ("x", "k"), ("values", "indices")),
        Operation("Reshape", ("values", "shape"), ("out",)),
    )
    assert parts_of_settings(operations, ["x"]) == {"k", "shape", "lengths", "d"}
    assert only_settings(operations, ["x"], ["out"]) == {"k", "shape", "lengths", "d"}
    assert only_settings(operations, ["x"], ["out", "shape"]) == {"k"}
