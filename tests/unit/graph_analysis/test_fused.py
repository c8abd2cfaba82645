"""Operators of com.microsoft and attention as one operator: what is a unit, and what stays."""

import pytest

from graph_analysis import Analysis, GroupKind, analyze, load_model
from graph_analysis.fused_shapes import fused_shapes
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder


def analysis_of(name: str) -> Analysis:
    return analyze(load_model(HARD_CASES[name]().SerializeToString()))


def units(analysis: Analysis, kind: GroupKind) -> list[int]:
    return sorted(group.units for group in analysis.space.groups if group.kind is kind)


@pytest.mark.parametrize(
    ("name", "channels", "heads"),
    [
        ("einsum_attention", [32, 64], [4]),
        ("einsum_projections", [4, 6, 8, 32], []),
        ("feature_matmul_gram", [16, 32], []),
        ("gqa", [32, 64], [2, 4]),
        ("nn_multihead_attention", [32, 64], [4]),
        ("batch_times_heads", [32, 64], [4]),
        ("sdpa_functional", [32, 64], [4]),
        ("scale_from_trunk_width", [32, 64], [4]),
        ("gather_with_axes_of_one", [4, 16, 16], []),
        ("skip_layer_normalization", [32, 48, 64], []),
        ("embed_layer_normalization", [24, 32], []),
        ("fused_encoder", [32, 48], [4]),
        ("fused_norms_without_means", [24, 32, 48], []),
        ("attention_operator", [32, 64], [4]),
        ("attention_operator_uneven", [32, 64], [4]),
        ("multi_head_operator", [32, 64], [4]),
        ("grouped_query_operator", [32, 64], [2, 4]),
        ("grouped_query_packed", [32, 64], [2, 4]),
        ("rotary_operator", [32, 64], [4]),
        ("attention_opset23", [32, 48], [2, 4]),
        ("fused_conv", [16, 24, 24], []),
        ("fake_quant_qdq", [24, 32], []),
        ("qdq_int8_weights", [24, 32], []),
        ("qlinear_convolutions", [12, 16, 20, 24], []),
        ("dynamic_ranges", [16, 20, 24], []),
    ],
)
def test_units(name: str, channels: list[int], heads: list[int]) -> None:
    analysis = analysis_of(name)
    assert units(analysis, GroupKind.CHANNEL) == channels
    assert units(analysis, GroupKind.HEAD) == heads


def test_an_activation_that_is_not_0_at_0_is_erased_through_a_gate() -> None:
    analysis = analysis_of("fused_conv_branch")
    gated = {entry.group.id: bool(entry.gates) for entry in analysis.structures}
    assert gated == {"operator:fusedconv_1": False, "operator:fusedconv_4": True}


def test_a_stored_weight_that_cannot_be_0_stays_with_that_reason() -> None:
    analysis = analysis_of("qdq_uint8_weights")
    assert units(analysis, GroupKind.CHANNEL) == [16, 24, 32]
    assert any("has a zero point other than 0" in entry.reason for entry in analysis.space.frozen)
    zeroed = {slices.initializer for group in analysis.space.groups for slices in group.zero}
    assert not zeroed & analysis.labelling.unzeroable


def test_an_operator_of_an_unknown_domain_is_a_boundary() -> None:
    graph = GraphBuilder("unknown", seed=4)
    y = graph.conv(graph.input((BATCH, 3, 16, 16)), 3, 20)
    y = graph.node("FusedConv", y, graph.weight(12, 20, 3, 3), domain="somebody.else")
    graph.classify(graph.conv(graph.input((BATCH, 12, 16, 16), "z"), 12, 16), 16)
    graph.output(y, (BATCH, 12, 14, 14))
    analysis = analyze(load_model(graph.build().SerializeToString()))
    assert units(analysis, GroupKind.CHANNEL) == [16]
    assert any("no rule for operator 'FusedConv'" in e.reason for e in analysis.space.frozen)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "expected"),
    [
        ("FusedMatMul", [(2, 3, 5), (7, 3)], {"transB": 1}, []),
        ("FusedMatMul", [(2, 5, 3), (7, 3)], {"transB": 1}, [(2, 5, 7)]),
        ("FusedMatMul", [(2, 3, 5), (3, 7)], {"transA": 1}, [(2, 5, 7)]),
        ("BiasGelu", [(2, 8)], {}, [(2, 8)]),
        ("SkipLayerNormalization", [(2, 8, 4)], {}, [(2, 8, 4), (2, 8, 1), (2, 8, 1), (2, 8, 4)]),
        ("Attention", [(2, 8, 4), (4, 12)], {"num_heads": 2}, [(2, 8, 4), (2, 2, 2, 8, 2)]),
        ("MultiHeadAttention", [(2, 8, 4, 3, 5)], {"num_heads": 4}, [(2, 8, 20)]),
        ("Attention", [(2, 8, 4), (4, 12)], {}, []),
        ("Attention", [(2, 8, 4), None], {"num_heads": 2}, []),
        ("QLinearAdd", [(2, 8), (), (), (1, 8)], {}, [(2, 8)]),
        ("QLinearConcat", [(), (), (2, 3), (), (), (2, 5)], {"axis": -1}, [(2, 8)]),
        ("QLinearGlobalAveragePool", [(2, 8, 4, 4)], {}, [(2, 8, 1, 1)]),
        ("QLinearGlobalAveragePool", [(2, 4, 4, 8)], {"channels_last": 1}, [(2, 1, 1, 8)]),
        ("QGemm", [(2, 8), (), (), (8, 5)], {}, [(2, 5)]),
        ("QGemm", [(2, 8), (), (), (5, 8)], {"transB": 1}, [(2, 5)]),
        ("NobodyKnows", [(2, 8)], {}, []),
        ("Gelu", [None], {}, []),
    ],
)
def test_shapes(
    op_type: str,
    inputs: list[tuple[int, ...] | None],
    attributes: dict[str, int],
    expected: list[tuple[int, ...]],
) -> None:
    assert fused_shapes(op_type, inputs, attributes) == expected
