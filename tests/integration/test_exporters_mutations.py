"""Mutation suite of the proof: what a broken surgeon would hand out, it must refuse.

Every initializer that a real solution cuts is spoiled in turn: a removed position kept in the place
of another, two kept positions swapped, a block shifted by one; biases and statistics among them.
"""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters.errors import ProofFailedError, SurgeryError
from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from graph_analysis.effects import Effects
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.solving import solve
from graph_analysis.testing import HARD_CASES

CASES = [
    "residual_add", "concat", "split_chunk", "slice_channels", "depthwise_conv", "grouped_conv",
    "channel_shuffle", "conv_transpose", "se_block", "flatten_fc", "gather_channel_index_select",
    "patch_embed_permute", "fused_qkv", "gqa", "einsum_projections", "l2normalize_over_channel",
    "fused_conv", "attention_operator", "grouped_query_operator", "qdq_int8_weights",
]  # fmt: skip


class Cut:
    """One case, cut; and what is needed to spoil it."""

    def __init__(self, name: str) -> None:
        self.analysis: Analysis = analyze(load_model(HARD_CASES[name]().SerializeToString()))
        self.solution = solve(self.analysis, target_ratio=0.6, saliency="random", seed=1)
        self.effects: Effects = self.analysis.effects(self.solution)
        self.masked = mask(self.analysis, self.solution)
        self.cut = shrink(self.analysis, self.solution)

    def prove(self, cut: onnx.ModelProto) -> None:
        prove(self.masked, cut, original=self.analysis.loaded.model, keep=self.effects.keep)

    def with_values(self, name: str, values: np.ndarray) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self.cut)
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return model

    def mutations(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """(kind, initializer, spoiled values), for every axis that is cut."""
        whole = {t.name: t for t in self.analysis.loaded.model.graph.initializer}
        for tensor in self.cut.graph.initializer:
            for axis, kept in self.effects.keep.get(tensor.name, {}).items():
                right = numpy_helper.to_array(tensor)
                source = numpy_helper.to_array(whole[tensor.name])
                for other, indices in self.effects.keep[tensor.name].items():
                    if other != axis:
                        source = np.take(source, indices, axis=other)
                gone = np.setdiff1d(np.arange(source.shape[axis]), kept)
                wrong = np.concatenate([gone[:1], kept[1:]])
                shifted = np.minimum(kept + 1, source.shape[axis] - 1)
                swapped = np.concatenate([kept[1:2], kept[:1], kept[2:]])
                for kind, indices in (("wrong", wrong), ("shifted", shifted), ("swapped", swapped)):
                    values = np.take(source, indices, axis=axis)
                    if values.shape == right.shape and not np.array_equal(values, right):
                        yield kind, tensor.name, values


@pytest.mark.parametrize("name", CASES)
def test_every_wrong_position_is_refused(name: str) -> None:
    case = Cut(name)
    case.prove(case.cut)
    tried = 0
    for kind, weight, values in case.mutations():
        tried += 1
        with pytest.raises(ProofFailedError, match="proof failed at G3"):
            case.prove(case.with_values(weight, values))
            pytest.fail(f"{kind} positions of {weight} went unnoticed")
    assert tried >= 6


@pytest.mark.parametrize("name", ["residual_add", "se_block", "patch_embed_permute"])
def test_a_forgotten_slice_never_gets_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One initializer left uncut: the surgeon's own checks find it or, at the latest, the proof."""
    case = Cut(name)
    names = {tensor.name for tensor in case.cut.graph.initializer} & set(case.effects.keep)
    for weight in sorted(names):
        keep = {key: axes for key, axes in case.effects.keep.items() if key != weight}
        fields = {**vars(case.effects), "keep": keep}
        broken = Effects(**fields)
        nothing = case.analysis.effects
        with monkeypatch.context() as patch:
            patch.setattr(
                Analysis,
                "effects",
                lambda _, s, broken=broken, whole=nothing: broken if s.removed else whole(s),
            )
            with pytest.raises((SurgeryError, ProofFailedError)):
                case.prove(shrink(case.analysis, case.solution))
                pytest.fail(f"{weight} went out uncut")


def test_an_erased_live_branch_is_refused() -> None:
    """The branch is dropped, the masked model keeps it."""
    case = Cut("residual_add")
    group = next(g for g in case.analysis.space.groups if g.kind == "operator")
    erased = type(case.solution).of(case.analysis.space, {group.id: [0]})
    nothing = type(case.solution).of(case.analysis.space, {})
    with pytest.raises(ProofFailedError, match="G3"):
        prove(
            mask(case.analysis, nothing),
            shrink(case.analysis, erased),
            original=case.analysis.loaded.model,
        )


def test_a_constant_that_was_not_updated_is_refused() -> None:
    """The columns of the fully connected layer: 16 channels' worth instead of what is left."""
    case = Cut("flatten_fc")
    names = [t.name for t in case.cut.graph.initializer if len(t.dims) == 2]
    whole = {t.name: t for t in case.analysis.loaded.model.graph.initializer}
    spoiled = case.with_values(names[0], numpy_helper.to_array(whole[names[0]]))
    with pytest.raises(ProofFailedError, match="does not run"):
        case.prove(spoiled)
