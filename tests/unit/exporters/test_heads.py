"""Numbers of heads after a cut, read from the file that comes out."""

from typing import Any

import onnx
import pytest

from exporters.draft import get_attribute
from exporters.surgeon import shrink
from graph_analysis import GroupKind, Solution, analyze, load_model
from graph_analysis.testing import HARD_CASES


def attributes_of(name: str, op_type: str, units: dict[int, list[int]]) -> dict[str, Any]:
    """What ``op_type`` states once heads are removed; ``units`` by the number in the group."""
    analysis = analyze(load_model(HARD_CASES[name]().SerializeToString()))
    heads = {g.units: g.id for g in analysis.space.groups if g.kind is GroupKind.HEAD}
    removed = {heads[count]: chosen for count, chosen in units.items()}
    model = shrink(analysis, Solution.of(analysis.space, removed))
    onnx.checker.check_model(model)
    node = next(node for node in model.graph.node if node.op_type == op_type)
    return {attribute.name: get_attribute(node, attribute.name) for attribute in node.attribute}


@pytest.mark.parametrize(
    ("name", "op_type", "units", "expected"),
    [
        ("attention_operator", "Attention", {4: [1]}, {"num_heads": 3}),
        (
            "attention_operator_uneven",
            "Attention",
            {4: [0, 3]},
            {"num_heads": 2, "qkv_hidden_sizes": [16, 16, 12]},
        ),
        ("multi_head_operator", "MultiHeadAttention", {4: [2]}, {"num_heads": 3}),
        (
            "grouped_query_operator",
            "GroupQueryAttention",
            {4: [0]},
            {"num_heads": 6, "kv_num_heads": 2},
        ),
        (
            "grouped_query_packed",
            "GroupQueryAttention",
            {2: [1], 4: [0, 3]},
            {"num_heads": 2, "kv_num_heads": 1},
        ),
        ("rotary_operator", "RotaryEmbedding", {4: [0]}, {"num_heads": 3}),
        ("attention_opset23", "Attention", {2: [0]}, {"q_num_heads": 4, "kv_num_heads": 1}),
    ],
)
def test_heads_are_counted_again(
    name: str, op_type: str, units: dict[int, list[int]], expected: dict[str, Any]
) -> None:
    found = attributes_of(name, op_type, units)
    assert {key: found[key] for key in expected} == expected


def test_nothing_removed_changes_no_number() -> None:
    found = attributes_of("attention_operator", "Attention", {})
    assert found["num_heads"] == 4
