"""Random inputs that fit a model."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporters.errors import SurgeryError
from exporters.samples import (
    batch_of,
    bound_shapes,
    has_free_batch,
    input_specs,
    random_feeds,
    stretched_shapes,
    variations,
)
from tests.unit.exporters.graphs import build, node

RNG = np.random.default_rng


def embedding() -> onnx.ModelProto:
    """Token ids that reach a table of 11 rows through a Cast; a mask; a pixel image."""
    nodes = [
        node("Cast", "ids", "long", to=TensorProto.INT64),
        node("Gather", "table long", "e"),
        node("Cast", "mask", "m", to=TensorProto.FLOAT),
        node("Unsqueeze", "m last", "mm"),
        node("Mul", "e mm", "y"),
        node("Cast", "pixels", "p", to=TensorProto.FLOAT),
        node("Not", "flag", "nf"),
        node("Cast", "nf", "z", to=TensorProto.FLOAT),
    ]
    return build(
        {"ids": ["n", "s"], "mask": ["n", "s"], "pixels": [1, 3, "h", "w"], "flag": ["n"]},
        {"y": ["n", "s", 4], "p": [1, 3, "h", "w"], "z": ["n"]},
        nodes,
        {"table": (11, 4), "last": np.asarray([-1])},
        input_types={
            "ids": TensorProto.INT32,
            "mask": TensorProto.INT64,
            "pixels": TensorProto.UINT8,
            "flag": TensorProto.BOOL,
        },
    )


def test_specs_say_what_the_file_says() -> None:
    ids, mask, pixels, flag = input_specs(embedding())
    assert (ids.name, ids.shape, ids.symbols, ids.limit) == ("ids", (None, None), ("n", "s"), 11)
    assert mask.limit == 0
    assert pixels.dtype == np.uint8
    assert flag.dtype == np.bool_
    assert not has_free_batch(input_specs(embedding()))
    assert has_free_batch((ids, mask))


def test_initializers_with_a_default_are_no_inputs() -> None:
    model = embedding()
    model.graph.input.append(helper.make_tensor_value_info("table", TensorProto.FLOAT, [11, 4]))
    assert [spec.name for spec in input_specs(model)] == ["ids", "mask", "pixels", "flag"]


def test_an_input_without_a_rank_is_refused() -> None:
    model = embedding()
    model.graph.input.append(helper.make_tensor_value_info("what", TensorProto.FLOAT, None))
    with pytest.raises(SurgeryError, match="'what' is no tensor of known rank"):
        input_specs(model)


def test_values_stay_where_the_model_can_take_them() -> None:
    specs = input_specs(embedding())
    shapes = bound_shapes(specs, batch=64)
    feeds = random_feeds(specs, shapes, RNG(0))
    assert set(np.unique(feeds["ids"])) == set(range(11))
    assert set(np.unique(feeds["mask"])) == {0, 1}
    assert feeds["pixels"].max() > 200
    assert feeds["pixels"].shape == (1, 3, 64, 64)
    assert feeds["flag"].dtype == np.bool_
    assert batch_of(feeds) == 64


def test_the_same_seed_draws_the_same() -> None:
    specs = input_specs(embedding())
    shapes = bound_shapes(specs, batch=2)
    first, second = (random_feeds(specs, shapes, RNG(5)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_known_shapes_bind_free_axes_also_by_symbol() -> None:
    specs = input_specs(embedding())
    shapes = bound_shapes(specs, batch=2, known={"ids": (1, 6), "pixels": (1, 3, 32, 40)})
    assert shapes["ids"] == (2, 6)
    assert shapes["mask"] == (2, 6)
    assert shapes["pixels"] == (1, 3, 32, 40)


def test_stretching_lengthens_free_axes_but_not_the_batch() -> None:
    specs = input_specs(embedding())
    shapes = stretched_shapes(specs, known={"ids": (1, 6), "pixels": (1, 3, 32, 40)})
    assert shapes is not None
    assert shapes["ids"] == (1, 9)
    assert shapes["pixels"] == (1, 3, 64, 72)
    assert stretched_shapes(specs[3:], known={}) is None


def test_variations_change_floats_only() -> None:
    feeds = {"x": np.asarray([-1.0], np.float32), "i": np.asarray([3])}
    drawn = list(variations(feeds, RNG(0)))
    assert [float(d["x"][0]) for d in drawn[:3]] == [-1.0, 1.0, -10.0]
    assert 0 <= drawn[3]["x"][0] < 1
    assert all(d["i"][0] == 3 and d["x"].dtype == np.float32 for d in drawn)


def test_the_last_variations_have_full_masks() -> None:
    """A row that may attend to nothing is not a number in the original either."""
    feeds = {"x": np.ones(3, np.float32), "mask": np.array([True, False, True])}
    drawn = list(variations(feeds, RNG(0)))
    assert [entry["mask"].tolist() for entry in drawn[-2:]] == [[False] * 3, [True] * 3]
    assert all(entry["x"].tolist() == [1.0] * 3 for entry in drawn[-2:])


def test_tables_behind_a_cast_and_of_an_embedding_operator_bound_the_indices() -> None:
    inputs = ("first", "ids", "kinds")
    model = build(
        {name: ["n", "s"] for name in inputs},
        {"e": ["n", "s", 4], "i": ["n", "s"], "k": ["n", "s"]},
        [
            node("Cast", "half", "table", to=TensorProto.FLOAT),
            node("Gather", "table first", "e"),
            node("Neg", "ids", "i"),
            node("Neg", "kinds", "k"),
        ],
        {"half": (7, 4), "words": (11, 4), "places": (5, 4), "two": (2, 4)},
        input_types=dict.fromkeys((*inputs, "i", "k"), TensorProto.INT32),
    )
    assert [spec.limit for spec in input_specs(model)] == [7, 0, 0]
    names = ["ids", "kinds", "words", "places", "two"]
    model.graph.node.add(op_type="EmbedLayerNormalization", input=names, output=["y"])
    assert [spec.limit for spec in input_specs(model)] == [7, 11, 2]
