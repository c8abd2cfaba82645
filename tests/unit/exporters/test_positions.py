"""Slice, Split, Gather and Pad along a cut axis, in every form that an opset gives them."""

import numpy as np
import pytest

from exporters.errors import SurgeryError
from exporters.surgeon import shrink
from tests.unit.exporters.graphs import between_convs, node
from tests.unit.exporters.proving import attributes, cut_and_prove, inputs, operators, values

KEPT = [0, 2, 5, 7]


def i64(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


def sliced(start: int, end: int, step: int = 1, *, opset: int = 17):
    """conv(8) -> Slice on channels -> conv, with the positions the Slice then keeps."""
    picked = list(range(8))[slice(start, end, step)]
    kept_out = [i for i, channel in enumerate(picked) if channel in KEPT]
    return between_convs(
        [node("Slice", "c st en ax sp", "s")],
        into="s",
        out_width=len(picked),
        kept_out=kept_out,
        weights={"st": i64(start), "en": i64(end), "ax": i64(1), "sp": i64(step)},
    )


@pytest.mark.parametrize(
    "bounds, expected",
    [
        ((0, 4, 1), (0, 2, 1)),
        ((4, 8, 1), (2, 4, 1)),
        ((4, 2**63 - 1, 1), (2, 4, 1)),
        ((-4, 8, 1), (2, 4, 1)),
        ((7, -9, -1), (7, -9, -1)),
        ((5, 0, -1), (2, 0, -1)),
        ((5, -9, -1), (2, -(2**63), -1)),
    ],
)
def test_slice_bounds_move_with_the_channels(
    bounds: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    cut = cut_and_prove(sliced(*bounds))

    arrays = values(cut)
    assert (arrays["st"][0], arrays["en"][0], arrays["sp"][0]) == expected


def test_a_slice_that_is_no_progression_any_more_becomes_a_gather() -> None:
    picked = list(range(9))[::2]  # of 9 channels with step 2, keep 0 2 8 among 0 1 2 3 8
    analysis = between_convs(
        [node("Slice", "c st en ax sp", "s")],
        into="s",
        width=9,
        kept=[0, 1, 2, 3, 8],
        out_width=len(picked),
        kept_out=[0, 1, 4],
        weights={"st": i64(0), "en": i64(9), "ax": i64(1), "sp": i64(2)},
    )

    assert "Gather" not in operators(shrink(analysis, analysis.solution))  # 0 2 4: a progression

    analysis = between_convs(
        [node("Slice", "c st en ax sp", "s")],
        into="s",
        width=9,
        kept=[0, 2, 3, 8],
        out_width=len(picked),
        kept_out=[0, 1, 4],
        weights={"st": i64(0), "en": i64(9), "ax": i64(1), "sp": i64(2)},
    )
    cut = cut_and_prove(analysis)
    assert operators(cut) == ["Conv", "Slice", "Gather", "Conv"]
    assert values(cut)["s__indices"].tolist() == [0, 1, 3]


def test_bounds_for_all_axes_from_the_front_stay_unsaid_where_they_hold() -> None:
    analysis = between_convs(
        [node("Slice", "c st en", "s")],
        into="s",
        width=6,
        kept=[0, 2, 3],
        out_width=6,
        kept_out=[0, 2, 3],
        weights={"st": i64(0, 0), "en": i64(9, 6)},
    )
    assert inputs(cut_and_prove(analysis), "n_s") == ["c", "st", "en"]


def test_slice_attributes_of_old_opsets_move_too() -> None:
    analysis = between_convs(
        [node("Slice", "c", "s", starts=[4], ends=[8], axes=[1])],
        into="s",
        out_width=4,
        kept_out=[1, 3],
        opset=9,
    )
    found = attributes(cut_and_prove(analysis), "n_s")
    assert (found["starts"], found["ends"]) == ([2], [4])


def test_computed_slice_bounds_that_follow_are_left_alone() -> None:
    """Halves as torch computes them: the bound is half of the channel count."""
    analysis = between_convs(
        [
            node("Shape", "c", "sh"),
            node("Gather", "sh one", "ch"),
            node("Div", "ch two", "half"),
            node("Slice", "c zero half ax", "s"),
        ],
        into="s",
        out_width=4,
        kept_out=[0, 2],
        weights={"one": i64(1), "two": i64(2), "zero": i64(0), "ax": i64(1)},
    )
    assert inputs(cut_and_prove(analysis), "n_s") == ["c", "zero", "half", "ax"]


def test_computed_slice_bounds_that_do_not_follow_become_constants() -> None:
    analysis = between_convs(
        [
            node("Shape", "c", "sh"),
            node("Gather", "sh one", "ch"),
            node("Div", "ch two", "half"),
            node("Slice", "c zero half ax", "s"),
        ],
        into="s",
        kept=[0, 2, 3, 7],
        out_width=4,
        kept_out=[0, 2, 3],
        weights={"one": i64(1), "two": i64(2), "zero": i64(0), "ax": i64(1)},
    )
    cut = cut_and_prove(analysis)
    assert inputs(cut, "n_s") == ["c", "zero", "half__cut", "ax"]
    assert values(cut)["half__cut"].tolist() == [3]
    assert operators(cut) == ["Conv", "Slice", "Conv"]


def split(kept: list[int], *, opset: int, **extra: object):
    """conv(8) -> Split into halves -> Mul of the halves' Relu -> conv."""
    weights = {"sizes": i64(4, 4)} if extra.pop("input", False) else {}
    left, right = [i for i in kept if i < 4], [i - 4 for i in kept if i >= 4]
    return between_convs(
        [
            node("Split", "c sizes" if weights else "c", "p q", axis=1, **extra),
            node("Relu", "p", "rp"),
            node("Concat", "rp q", "k", axis=1),
        ],
        into="k",
        kept=kept,
        weights=weights,
        middle_keep={"p": {1: left}, "rp": {1: left}, "q": {1: right}},
        opset=opset,
    )


def test_equal_halves_stay_unsaid() -> None:
    cut = cut_and_prove(split([0, 2, 5, 7], opset=13))
    assert inputs(cut, "n_p") == ["c"]


@pytest.mark.parametrize("opset", [13, 17])
def test_unequal_halves_are_stated(opset: int) -> None:
    cut = cut_and_prove(split([0, 1, 2, 7], opset=opset))
    assert values(cut)[inputs(cut, "n_p")[1]].tolist() == [3, 1]


def test_unequal_halves_replace_num_outputs() -> None:
    cut = cut_and_prove(split([0, 1, 2, 7], opset=18, num_outputs=2))
    assert attributes(cut, "n_p") == {"axis": 1}
    assert values(cut)[inputs(cut, "n_p")[1]].tolist() == [3, 1]


def test_num_outputs_says_an_uneven_split_by_itself() -> None:
    cut = cut_and_prove(split([0, 1, 2, 6, 7], opset=18, num_outputs=2))
    assert attributes(cut, "n_p") == {"axis": 1, "num_outputs": 2}


def test_stated_sizes_are_rewritten_as_input_and_as_attribute() -> None:
    cut = cut_and_prove(split([0, 1, 2, 7], opset=13, input=True))
    assert values(cut)["sizes"].tolist() == [3, 1]
    cut = cut_and_prove(split([0, 1, 2, 7], opset=11, split=[4, 4]))
    assert attributes(cut, "n_p")["split"] == [3, 1]
    cut = cut_and_prove(split([0, 1, 2, 7], opset=11))
    assert attributes(cut, "n_p")["split"] == [3, 1]


def test_a_constant_channel_gather_is_renumbered() -> None:
    order = i64(7, 1, -3, 3, 0, 2, 6, 4)  # -3 is channel 5
    kept_out = [0, 2, 4, 5]
    analysis = between_convs(
        [node("Gather", "c idx", "s", axis=1)],
        into="s",
        kept_out=kept_out,
        weights={"idx": order},
        middle_keep={"idx": {0: kept_out}},
    )
    assert values(cut_and_prove(analysis))["idx"].tolist() == [3, 2, 0, 1]


def test_a_gather_of_a_removed_channel_is_refused() -> None:
    analysis = between_convs(
        [node("Gather", "c idx", "s", axis=1)],
        into="s",
        out_width=2,
        kept_out=[0, 1],
        weights={"idx": i64(0, 1)},
    )
    with pytest.raises(SurgeryError, match="'n_s' needs positions that the solution removes"):
        shrink(analysis, analysis.solution)


def test_a_gather_whose_indices_are_data_is_refused() -> None:
    analysis = between_convs(
        [
            node("ReduceSum", "x all", "sum", keepdims=0),
            node("Cast", "sum", "i", to=7),
            node("Reshape", "i minus", "idx"),
            node("Gather", "c idx", "s", axis=1),
        ],
        into="s",
        out_width=1,
        kept_out=[0],
        weights={"all": i64(0, 1, 2, 3), "minus": i64(-1)},
    )
    with pytest.raises(SurgeryError, match="'n_s' picks from a cut axis by indices known only"):
        shrink(analysis, analysis.solution)


@pytest.mark.parametrize("opset", [10, 13, 19])
def test_channel_padding_shrinks_with_what_it_pads(opset: int) -> None:
    """A parameter-free shortcut: 8 channels padded with 2 in front and 3 behind."""
    amounts = [0, 2, 0, 0, 0, 3, 0, 0]
    kept_out = [1, 2, 4, 7, 9, 10, 12]  # pad 1, body 0 2 5 7, pads 0 and 2 behind
    if opset < 11:
        middle, weights = [node("Pad", "c", "s", pads=amounts)], {}
    elif opset < 19:
        middle, weights = [node("Pad", "c pads", "s")], {"pads": i64(*amounts)}
    else:
        middle = [node("Pad", "c pads value axes", "s")]
        weights = {"pads": i64(2, 3), "axes": i64(-3), "value": np.float32(0)}
    analysis = between_convs(
        middle, into="s", out_width=13, kept_out=kept_out, weights=weights, opset=opset
    )

    cut = cut_and_prove(analysis)

    found = attributes(cut, "n_s").get("pads") or values(cut)["pads"].tolist()
    assert found == ([1, 2] if opset == 19 else [0, 1, 0, 0, 0, 2, 0, 0])


def test_a_negative_pad_crops_what_is_left_to_crop() -> None:
    analysis = between_convs(
        [node("Pad", "c pads", "s")],
        into="s",
        out_width=8 - 3 - 1,
        kept_out=[2],  # of channels 3 4 5 6 only 5 is kept
        weights={"pads": i64(0, -3, 0, 0, 0, -1, 0, 0)},
    )
    assert values(cut_and_prove(analysis))["pads"].tolist() == [0, -2, 0, 0, 0, -1, 0, 0]


@pytest.mark.parametrize("cuts_channels", [True, False])
def test_bounds_known_only_at_run_time_are_refused_where_they_move_channels(
    cuts_channels: bool,
) -> None:
    """The end of the Slice is the sum of the input, clipped."""
    top = 4 if cuts_channels else 8
    analysis = between_convs(
        [
            node("ReduceSum", "x all", "sum", keepdims=0),
            node("Clip", "sum low low", "clipped"),
            node("Cast", "clipped", "i", to=7),
            node("Reshape", "i one", "end"),
            node("Slice", "c zero end one", "s"),
        ],
        into="s",
        out_width=top,
        kept_out=[i for i in KEPT if i < top],
        weights={
            "all": i64(0, 1, 2, 3),
            "low": np.float32(top),
            "one": i64(1),
            "zero": i64(0),
        },
    )
    if cuts_channels:
        with pytest.raises(SurgeryError, match="Slice 'n_s' cuts at computed bounds"):
            shrink(analysis, analysis.solution)
    else:
        assert inputs(cut_and_prove(analysis), "n_s") == ["c", "zero", "end", "one"]


def test_split_sizes_known_only_at_run_time_are_refused() -> None:
    analysis = between_convs(
        [
            node("ReduceSum", "x all", "sum", keepdims=1),
            node("Clip", "sum low low", "clipped"),
            node("Cast", "clipped", "i", to=7),
            node("Reshape", "i one", "half"),
            node("Concat", "half half", "sizes", axis=0),
            node("Split", "c sizes", "p q", axis=1),
            node("Add", "p q", "s"),
        ],
        into="s",
        out_width=4,
        kept_out=[0, 1, 2, 3],
        weights={"all": i64(0, 1, 2, 3), "low": np.float32(4), "one": i64(1)},
    )
    with pytest.raises(SurgeryError, match="Split 'n_p' has computed sizes"):
        shrink(analysis, analysis.solution)


def test_a_part_that_loses_everything_is_empty() -> None:
    analysis = between_convs(
        [node("Slice", "c st en ax", "gone"), node("Slice", "c st2 en2 ax", "s")],
        into="s",
        kept=[4, 5, 6, 7],
        out_width=4,
        kept_out=[0, 1, 2, 3],
        weights={"st": i64(0), "en": i64(4), "ax": i64(1), "st2": i64(4), "en2": i64(8)},
        middle_keep={"gone": {1: []}},
    )
    cut = cut_and_prove(analysis)
    assert (values(cut)["st2"].tolist(), values(cut)["en2"].tolist()) == ([0], [4])
    assert values(cut)["en"].tolist() == [0]
