"""What can be cut of every hard case: widths by kind, those that need a mask, and what stays why.

A width is the number of units of a group; ``m`` marks one whose statistics are masked. Erasing is
tested with the removal structures.
"""

import pytest

from graph_analysis import Analysis, GroupKind, analyze, load_model
from graph_analysis.testing import HARD_CASES

WIDTHS = {  # channels, heads
    "residual_add": ("32 64", ""),
    "concat": ("16 24 32", ""),
    "split_chunk": ("16 16 16 24", ""),
    "slice_channels": ("12 20 24", ""),
    "flatten_fc": ("16 64", ""),
    "view_minus1_fc": ("16 64", ""),
    "patch_embed_permute": ("32 64", ""),
    "depthwise_conv": ("24 32", ""),
    "grouped_conv": ("16 24 8", ""),
    "depth_multiplier_conv": ("16 24", ""),
    "channel_shuffle": ("16 16 24", ""),
    "pixel_shuffle": ("16 24", ""),
    "focus_space2depth_slice": ("24 8", ""),
    "nn_multihead_attention": ("32m 64", "4"),
    "fused_qkv": ("32 64", "4"),
    "separate_qkv_heads": ("32 64", "4"),
    "gqa": ("32 64", "2 4"),
    "sdpa_functional": ("32 64", "4"),
    "einsum_attention": ("32 64", "4"),
    "layernorm_mlp": ("32m 64", ""),
    "rmsnorm_custom_gated_mlp": ("32m 64", ""),
    "groupnorm": ("24 8", ""),
    "instancenorm_affine": ("24 32", ""),
    "lstm_1layer": ("24 32", ""),
    "lstm_2layer_bidir": ("24 32 32", ""),
    "gru": ("24 32", ""),
    "shared_conv_reused": ("32", ""),
    "shared_head_two_levels": ("24 32", ""),
    "tied_embedding_lm_head": ("32 64", ""),
    "embedding_gather": ("32 64", ""),
    "se_block": ("24 32 8", ""),
    "conv1d": ("24 32", ""),
    "conv3d": ("24 32", ""),
    "conv_transpose": ("16 24 32", ""),
    "conv_transpose_grouped": ("32", ""),
    "cbam_mean_over_channel": ("24 32m", ""),
    "layer_scale_param": ("32 64", ""),
    "layer_scale_param_static_shape": ("32 64", ""),
    "cls_token_concat_seq": ("32 64", ""),
    "feature_matmul_gram": ("16 32", ""),
    "softmax_over_channel": ("24 32m", ""),
    "l2normalize_over_channel": ("24 32", ""),
    "interpolate_to_skip_size": ("16 24 32", ""),
    "swin_window_partition": ("32 64", "4"),
    "swin_patch_merging": ("16m 32", ""),
    "input_residual_add": ("16 32", ""),
    "glu_halving": ("24 32", ""),
    "repeat_channels": ("16 24", ""),
    "concat_then_grouped_conv": ("24 8 8", ""),
    "gather_channel_index_select": ("24 32", ""),
    "fake_quant_qdq": ("24 32", ""),
    "cross_attention_two_inputs": ("24 32 64", "4"),
    "outer_broadcast_add": ("24 32", ""),
    "linear_on_4d_channels_last": ("32m 64", ""),
    "multi_branch_inception_pool": ("12 16 24 8", ""),
    "stack_unbind": ("16 24", ""),
    "least_greatest_chosen": ("16 24", ""),
    "mixture_of_experts": ("20 24 28 32", ""),
    "scale_from_trunk_width": ("32 64", "4"),
}

STAYS = {  # a weight, or a part of it, stays for a reason that names this
    "cbam_mean_over_channel": ["its input channels stay"],
    "conv_transpose": ["graph output"],
    "input_residual_add": ["graph input 'x'"],
    "outer_broadcast_add": ["its input channels stay"],
    "pixel_shuffle": ["graph output"],
    "shared_head_two_levels": ["graph output"],
}

POSITIONS = {  # of one unit, in the weight that has most of them
    "concat_then_grouped_conv": {8: 4, 24: 1},
    "channel_shuffle": {16: 2, 24: 1},
    "depth_multiplier_conv": {16: 2, 24: 1},
    "feature_matmul_gram": {16: 16, 32: 1},
    "flatten_fc": {16: 16, 64: 1},
    "focus_space2depth_slice": {8: 4, 24: 1},
    "fused_qkv": {4: 24, 32: 1, 64: 1},
    "glu_halving": {32: 2, 24: 1},
    "gru": {24: 1, 32: 6},
    "pixel_shuffle": {16: 4, 24: 1},
    "repeat_channels": {16: 2, 24: 1},
    "swin_patch_merging": {16: 4, 32: 1},
}


def analysis_of(name: str) -> Analysis:
    return analyze(load_model(HARD_CASES[name]().SerializeToString()))


def widths(analysis: Analysis, kind: GroupKind) -> str:
    groups = (group for group in analysis.space.groups if group.kind is kind)
    return " ".join(sorted(f"{group.units}{'m' * group.masked}" for group in groups))


@pytest.mark.parametrize("name", WIDTHS)
def test_widths_and_masks(name: str) -> None:
    analysis = analysis_of(name)
    found = widths(analysis, GroupKind.CHANNEL), widths(analysis, GroupKind.HEAD)
    assert found == WIDTHS[name]


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_has_the_reason(name: str) -> None:
    reasons = [entry.reason for entry in analysis_of(name).space.frozen if entry.initializer]
    for words in STAYS[name]:
        assert any(words in reason for reason in reasons), reasons


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_of_a_unit(name: str) -> None:
    largest: dict[int, int] = {}
    for group in analysis_of(name).space.groups:
        if group.kind is not GroupKind.OPERATOR:
            most = max(len(slices.unit_indices[0]) for slices in group.cut)
            largest[group.units] = max(most, largest.get(group.units, 0))
    assert largest == POSITIONS[name]


def test_the_vocabulary_stays_where_ids_are_data() -> None:
    for name in ("embedding_gather", "tied_embedding_lm_head"):
        analysis = analysis_of(name)
        rows = {
            tensor.name
            for tensor in analysis.loaded.model.graph.initializer
            if tensor.dims[:1] == [50]
        }
        assert rows
        cut = {(s.initializer, s.axis) for g in analysis.space.groups for s in g.cut}
        assert {(name, 1) for name in rows} <= cut
        assert not {(name, 0) for name in rows} & cut


def test_operands_of_least_and_greatest_and_choices_go_together() -> None:
    """Five convolutions, tied by Min, Max, Less and Where; none of them can be erased."""
    analysis = analysis_of("least_greatest_chosen")
    (group,) = [group for group in analysis.space.groups if group.units == 24]
    analysis_names = {slices.initializer for slices in group.cut if slices.axis == 0}
    assert len(analysis_names) == 10
    assert not [g for g in analysis.space.groups if g.kind is GroupKind.OPERATOR]
