"""Counts in attributes: convolution groups, norm groups, hidden size."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporters.attributes import RULES
from exporters.draft import Draft, get_attribute
from exporters.errors import SurgeryError
from exporters.operands import Operands
from tests.unit.exporters.graphs import between_convs, node
from tests.unit.exporters.proving import attributes, cut_and_prove


def test_a_depthwise_convolution_has_as_many_groups_as_channels() -> None:
    analysis = between_convs(
        [node("Conv", "c wd bd", "s", group=8)],
        into="s",
        weights={"wd": (8, 1, 1, 1), "bd": (8,)},
        middle_keep={"wd": {0: [0, 2, 5, 7]}, "bd": {0: [0, 2, 5, 7]}},
    )
    assert attributes(cut_and_prove(analysis), "n_s")["group"] == 4


def test_a_grouped_convolution_cut_inside_its_groups_keeps_their_number() -> None:
    kept = [0, 3, 4, 6]  # two of each group of four
    analysis = between_convs([node("Relu", "c", "s")], into="s", kept=kept, groups=2)
    keep: Any = dict(analysis.keep) | {"w9": {1: [0, 3]}}
    weights = {t.name: t for t in analysis.loaded.model.graph.initializer}
    values = onnx.numpy_helper.to_array(weights["w9"]).copy()
    values[2:] = values[2:][:, [0, 1, 2, 3]]
    draft = draft_of(analysis.loaded.model.graph.node[-1], keep, weights, {"s": (1, 4, 4, 4)})
    RULES["Conv"](Operands(draft), draft.nodes[0])
    assert get_attribute(draft.nodes[0], "group") == 2


def test_whole_groups_that_go_are_counted() -> None:
    conv = node("Conv", "s w b", "y", group=4)
    draft = draft_of(conv, {}, {"w": tensor("w", (8, 2, 1, 1))}, {"s": (1, 6, 4, 4)})
    RULES["Conv"](Operands(draft), conv)
    assert get_attribute(conv, "group") == 3


def test_a_transposed_convolution_counts_its_output() -> None:
    conv = node("ConvTranspose", "s w b", "y", group=8)
    shapes = {"s": (1, 6, 4, 4), "y": (1, 6, 8, 8)}
    draft = draft_of(conv, {}, {"w": tensor("w", (6, 1, 2, 2))}, shapes)
    RULES["ConvTranspose"](Operands(draft), conv)
    assert get_attribute(conv, "group") == 6


def test_channels_that_do_not_fill_their_groups_are_refused() -> None:
    conv = node("Conv", "s w b", "y", group=4)
    draft = draft_of(conv, {}, {"w": tensor("w", (8, 2, 1, 1))}, {"s": (1, 5, 4, 4)})
    with pytest.raises(SurgeryError, match="Conv 'n_y': 5 channels in groups of 2"):
        RULES["Conv"](Operands(draft), conv)


def test_a_length_nobody_knows_is_said_so() -> None:
    conv = node("Conv", "s w b", "y", group=4)
    draft = draft_of(conv, {}, {}, {"s": (1, 5, 4, 4)})
    with pytest.raises(SurgeryError, match="the shape of 'w' is unknown"):
        RULES["Conv"](Operands(draft), conv)


def test_group_norm_loses_whole_groups() -> None:
    kept = [0, 1, 4, 5, 6, 7]
    per_channel = {"g": {0: kept}, "sh": {0: kept}}
    analysis = between_convs(
        [node("GroupNormalization", "c g sh", "s", num_groups=4)],
        into="s",
        kept=kept,
        weights={"g": (8,), "sh": (8,)},
        middle_keep=per_channel,
        opset=21,
    )
    assert attributes(cut_and_prove(analysis), "n_s")["num_groups"] == 3


def test_a_part_of_a_norm_group_is_refused() -> None:
    norm = node("GroupNormalization", "c g sh", "s", num_groups=4)
    draft = draft_of(norm, {"c": {1: np.arange(7)}}, {}, {"c": (1, 7, 4, 4)}, {"c": (1, 8, 4, 4)})
    with pytest.raises(SurgeryError, match="would lose a part of a group"):
        RULES["GroupNormalization"](Operands(draft), norm)


def test_hidden_size_is_that_of_the_recurrence_weight() -> None:
    lstm = node("LSTM", "x w r", "y", hidden_size=8)
    draft = draft_of(lstm, {}, {"r": tensor("r", (1, 20, 5))}, {})
    RULES["LSTM"](Operands(draft), lstm)
    assert get_attribute(lstm, "hidden_size") == 5


@pytest.mark.parametrize(("state", "left"), [("zeros", ""), ("learned", "learned")])
def test_a_state_of_zeros_is_left_out_when_the_units_are_cut(state: str, left: str) -> None:
    gru = node("GRU", "x w r", "y", hidden_size=8)
    gru.input.extend(["", "", state])
    keep = {"r": {2: np.arange(5)}}
    draft = draft_of(gru, keep, {"r": tensor("r", (1, 24, 8))}, {})
    draft.zeros = frozenset({"zeros"})
    RULES["GRU"](Operands(draft), gru)
    assert list(gru.input)[3:] == ["", "", left]
    whole = draft_of(gru, {}, draft.initializers, {})
    whole.zeros = draft.zeros
    gru.input[5] = state
    RULES["GRU"](Operands(whole), gru)
    assert gru.input[5] == state


def tensor(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.0] * int(np.prod(shape)))


def draft_of(
    proto: onnx.NodeProto,
    keep: Any,
    initializers: dict[str, onnx.TensorProto],
    shapes: dict[str, tuple[int, ...]],
    before: dict[str, tuple[int, ...]] | None = None,
) -> Draft:
    return Draft(
        model=onnx.ModelProto(),
        nodes=[proto],
        initializers=initializers,
        keep=keep,
        shapes=shapes,
        shapes_before=before or shapes,
        origin={proto.name: proto},
    )
