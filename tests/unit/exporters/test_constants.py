"""Sizes in constants and in shape arithmetic, and numbers that only look like sizes."""

import numpy as np
import pytest

from exporters.errors import SurgeryError
from exporters.surgeon import shrink
from tests.unit.exporters.graphs import analysis, between_convs, build, node
from tests.unit.exporters.proving import cut_and_prove, inputs, operators, values

KEPT = [0, 2, 5, 7]


def i64(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


def flattened(target: np.ndarray, *, target_nodes=(), extra=None):
    """conv(8) 2x2 -> Reshape to (n, 32) -> Gemm: 4 columns per channel."""
    columns = [4 * channel + i for channel in KEPT for i in range(4)]
    gone = [i for i in range(32) if i not in columns]
    nodes = [
        node("Conv", "x w0 b0", "c"),
        *target_nodes,
        node("Reshape", "c target", "f"),
        node("Gemm", "f wf bf", "y", transB=1),
    ]
    weights = {"w0": (8, 3, 1, 1), "b0": (8,), "wf": (5, 32), "bf": (5,)}
    weights |= extra or {}
    if not target_nodes:
        weights["target"] = target
    model = build({"x": ["n", 3, 2, 2]}, {"y": ["n", 5]}, nodes, weights)
    keep = {"w0": {0: KEPT}, "b0": {0: KEPT}, "c": {1: KEPT}, "f": {1: columns}}
    keep["wf"] = {1: columns}
    lost = [1, 3, 4, 6]
    return analysis(model, keep=keep, zero={"w0": {0: lost}, "b0": {0: lost}, "wf": {1: gone}})


@pytest.mark.parametrize(
    "target, expected", [((-1, 32), [-1, 16]), ((0, 32), [0, 16]), ((0, -1), [0, -1])]
)
def test_a_constant_reshape_target_is_rewritten_where_it_must(
    target: tuple[int, ...], expected: list[int]
) -> None:
    cut = cut_and_prove(flattened(i64(*target)))
    assert values(cut)["target"].tolist() == expected


def test_a_copied_length_that_is_not_the_right_one_is_stated() -> None:
    """Entry 0 copies axis 1 of the input; after the cut input and output differ there."""
    analysis_ = between_convs(
        [
            node("Reshape", "c fold", "f"),
            node("Transpose", "f", "g", perm=[0, 2, 1, 3]),
            node("Reshape", "g back", "s"),
        ],
        into="s",
        kept=[0, 1, 2, 3],
        kept_out=[0, 1, 4, 5],
        weights={"fold": i64(0, 2, 4, -1), "back": i64(0, 8, 4, 4)},
        middle_keep={"f": {1: [0]}, "g": {2: [0]}},
    )
    # channels 0..3 are row 0 of (2, 4); transposed they are column 0 of (4, 2): 0 2 4 6
    analysis_.keep["s"][1][:] = [0, 2, 4, 6]
    gone = {"w9": {1: [1, 3, 5, 7]}}
    rebuilt = analysis(
        analysis_.loaded.model,
        keep={**analysis_.keep, "w9": {1: [0, 2, 4, 6]}},
        zero={"w0": {0: [4, 5, 6, 7]}, "b0": {0: [4, 5, 6, 7]}, **gone},
    )
    arrays = values(cut_and_prove(rebuilt))
    assert arrays["fold"].tolist() == [0, 1, 4, -1]
    assert arrays["back"].tolist() == [0, 4, 4, 4]


SHAPE_OF_BATCH = [
    node("Shape", "c", "sh"),
    node("Gather", "sh nought", "n"),
    node("Unsqueeze", "n nought_", "nn"),
    node("Concat", "nn width", "target", axis=0),
]
BATCH_WEIGHTS = {"nought": np.int64(0), "nought_": i64(0), "width": i64(32)}


def test_only_the_constant_piece_of_a_computed_target_is_rewritten() -> None:
    cut = cut_and_prove(flattened(i64(), target_nodes=SHAPE_OF_BATCH, extra=BATCH_WEIGHTS))
    assert inputs(cut, "n_f") == ["c", "target"]
    assert values(cut)["width"].tolist() == [16]


def test_a_computed_width_that_follows_by_itself_is_left_alone() -> None:
    nodes = [
        node("Shape", "c", "sh"),
        node("Gather", "sh chan", "ch"),
        node("Mul", "ch four", "width"),
        node("Concat", "minus width", "target", axis=0),
    ]
    extra = {"chan": i64(1), "four": i64(4), "minus": i64(-1)}
    cut = cut_and_prove(flattened(i64(), target_nodes=nodes, extra=extra))
    assert [node.op_type for node in cut.graph.node][1:5] == ["Shape", "Gather", "Mul", "Concat"]
    assert values(cut)["four"].tolist() == [4]


def test_two_users_of_one_target_get_what_each_of_them_needs() -> None:
    """One constant serves a cut Reshape and an uncut one: the cut one gets a copy."""
    nodes = [
        node("Conv", "x w0 b0", "c"),
        node("Conv", "x w1 b1", "d"),
        node("Reshape", "c target", "f"),
        node("Reshape", "d target", "g"),
        node("Gemm", "f wf bf", "yf", transB=1),
        node("Gemm", "g wf2 bf", "yg", transB=1),
        node("Add", "yf yg", "y"),
    ]
    weights = {
        "w0": (8, 3, 1, 1), "b0": (8,), "w1": (8, 3, 1, 1), "b1": (8,), "target": i64(-1, 32),
        "wf": (5, 32), "wf2": (5, 32), "bf": (5,),
    }  # fmt: skip
    model = build({"x": ["n", 3, 2, 2]}, {"y": ["n", 5]}, nodes, weights)
    columns = [4 * channel + i for channel in KEPT for i in range(4)]
    keep = {"w0": {0: KEPT}, "b0": {0: KEPT}, "c": {1: KEPT}, "f": {1: columns}}
    keep["wf"] = {1: columns}
    lost = [1, 3, 4, 6]
    cut = cut_and_prove(analysis(model, keep=keep, zero={"w0": {0: lost}, "b0": {0: lost}}))

    assert inputs(cut, "n_f") == ["c", "target__cut"]
    assert inputs(cut, "n_g") == ["d", "target"]
    assert values(cut)["target__cut"].tolist() == [-1, 16]
    assert values(cut)["target"].tolist() == [-1, 32]


def test_a_computed_target_shared_with_an_uncut_user_is_cloned() -> None:
    nodes = [
        node("Conv", "x w0 b0", "c"),
        node("Conv", "x w1 b1", "d"),
        *SHAPE_OF_BATCH,
        node("Reshape", "c target", "f"),
        node("Reshape", "d target", "g"),
        node("Gemm", "f wf bf", "yf", transB=1),
        node("Gemm", "g wf2 bf", "yg", transB=1),
        node("Add", "yf yg", "y"),
    ]
    weights = {
        "w0": (8, 3, 1, 1), "b0": (8,), "w1": (8, 3, 1, 1), "b1": (8,), **BATCH_WEIGHTS,
        "wf": (5, 32), "wf2": (5, 32), "bf": (5,),
    }  # fmt: skip
    model = build({"x": ["n", 3, 2, 2]}, {"y": ["n", 5]}, nodes, weights)
    columns = [4 * channel + i for channel in KEPT for i in range(4)]
    keep = {"w0": {0: KEPT}, "b0": {0: KEPT}, "c": {1: KEPT}, "f": {1: columns}}
    keep["wf"] = {1: columns}
    lost = [1, 3, 4, 6]
    cut = cut_and_prove(analysis(model, keep=keep, zero={"w0": {0: lost}, "b0": {0: lost}}))

    assert inputs(cut, "n_f") == ["c", "target__cut"]
    assert inputs(cut, "n_target__cut") == ["nn", "width__cut"]
    assert inputs(cut, "n_g") == ["d", "target"]


def test_a_computed_vector_that_is_no_concat_is_overwritten_in_place() -> None:
    """Target = Shape(x) * (1, k, 1, 1): the batch stays computed, the channel entry is set."""
    analysis_ = between_convs(
        [
            node("Shape", "x", "sh"),
            node("Mul", "sh factor", "target"),
            node("Reshape", "c target", "s"),
        ],
        into="s",
        width=9,
        kept=[0, 4, 8],
        weights={"factor": i64(1, 3, 1, 1)},
    )
    cut = cut_and_prove(analysis_)
    assert "ScatterElements" in operators(cut)
    assert inputs(cut, "n_s") == ["c", "target__cut"]


def test_expand_tells_the_new_width_and_keeps_ones() -> None:
    analysis_ = between_convs(
        [
            node("GlobalAveragePool", "c", "p"),
            node("Expand", "p target", "s"),
        ],
        into="s",
        weights={"target": i64(1, 8, 4, 4)},
        middle_keep={"p": {1: KEPT}},
    )
    assert values(cut_and_prove(analysis_))["target"].tolist() == [1, 4, 4, 4]


def test_zeros_of_the_shape_of_a_cut_tensor_follow() -> None:
    analysis_ = between_convs(
        [
            node("ConstantOfShape", "dims", "z"),
            node("Add", "c z", "s"),
        ],
        into="s",
        weights={"dims": i64(1, 8, 4, 4)},
        middle_keep={"z": {1: KEPT}},
    )
    assert values(cut_and_prove(analysis_))["dims"].tolist() == [1, 4, 4, 4]


def test_tile_repeats_stay_when_the_input_is_cut_alike() -> None:
    analysis_ = between_convs(
        [node("Tile", "c reps", "s")],
        into="s",
        out_width=16,
        kept_out=KEPT + [8 + i for i in KEPT],
        weights={"reps": i64(1, 2, 1, 1)},
    )
    assert values(cut_and_prove(analysis_))["reps"].tolist() == [1, 2, 1, 1]


def test_tile_of_one_position_repeats_it_less_often() -> None:
    analysis_ = between_convs(
        [
            node("ReduceMean", "x", "one", axes=[1]),
            node("Tile", "one reps", "z"),
            node("Mul", "c z", "s"),
        ],
        into="s",
        weights={"reps": i64(1, 8, 1, 1)},
        middle_keep={"z": {1: KEPT}},
    )
    assert values(cut_and_prove(analysis_))["reps"].tolist() == [1, 4, 1, 1]


def test_a_tile_whose_copies_went_apart_is_refused() -> None:
    analysis_ = between_convs(
        [node("Tile", "c reps", "s")],
        into="s",
        out_width=16,
        kept_out=[0, 1, 2],
        weights={"reps": i64(1, 2, 1, 1)},
    )
    with pytest.raises(SurgeryError, match="Tile 'n_s' repeats positions of axis 1"):
        shrink(analysis_, analysis_.solution)


@pytest.mark.parametrize("axes", [None, [1, 2, 3]])
def test_resize_sizes_tell_the_new_width(axes: list[int] | None) -> None:
    sizes = i64(8, 8, 8) if axes else i64(1, 8, 8, 8)
    extra = {"axes": axes} if axes else {}
    middle = node("Resize", "c", "s", mode="nearest", **extra)
    middle.input.extend(["", "", "sizes"])
    analysis_ = between_convs(
        [middle],
        into="s",
        weights={"sizes": sizes},
        opset=18,
        input_shape=[1, 3, 4, 4] if axes is None else None,
    )
    assert values(cut_and_prove(analysis_))["sizes"].tolist()[-3:] == [4, 8, 8]


def test_a_scale_computed_from_a_cut_length_keeps_its_value() -> None:
    """1 / sqrt(channels) as exporters compute it: data, not a size."""
    analysis_ = between_convs(
        [
            node("Shape", "c", "sh"),
            node("Gather", "sh one", "ch"),
            node("Cast", "ch", "f", to=1),
            node("Sqrt", "f", "root"),
            node("Div", "c root", "s"),
        ],
        into="s",
        weights={"one": np.int64(1)},
    )
    cut = cut_and_prove(analysis_)
    assert inputs(cut, "n_s") == ["c", "root__cut"]
    assert values(cut)["root__cut"] == pytest.approx(8**0.5)
    assert operators(cut) == ["Conv", "Div", "Conv"]


def test_scales_computed_from_a_cut_width_stay_ratios() -> None:
    """8 / width is 1 in the file and would be 2 behind the cut."""
    analysis_ = between_convs(
        [
            node("Shape", "c", "sh"),
            node("Cast", "sh", "f", to=1),
            node("Div", "wanted f", "scales"),
            node("Resize", "c roi scales", "s", mode="nearest"),
        ],
        into="s",
        weights={
            "wanted": np.asarray([1, 8, 8, 8], np.float32),
            "roi": np.zeros(0, np.float32),
        },
        input_shape=[1, 3, 4, 4],
    )
    cut = cut_and_prove(analysis_)
    assert inputs(cut, "n_s") == ["c", "roi", "scales__cut"]
