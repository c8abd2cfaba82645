"""Widths under a normalisation: zeroing alone is wrong, the masked form is what the cut file is."""

import onnx
import pytest
import torch

from exporters.errors import ProofFailedError
from exporters.masked import mask, zero_slices
from exporters.proof import prove
from exporters.surgeon import shrink
from exporters.weights import copy_without, zeroed
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.h2spg.units import fill_zero, scale
from service.compression.agreement import disagreement
from tests.integration.golden import feeds_of

CASES = ["layernorm_mlp", "softmax_over_channel", "linear_on_4d_channels_last"]


def without_a_third(name: str) -> tuple[Analysis, Solution]:
    """A solution that takes a third of every masked group."""
    analysis = analyze(load_model(HARD_CASES[name]().SerializeToString()))
    removed = {
        group.id: list(range(0, group.units, 3)) for group in analysis.space.groups if group.masked
    }
    assert removed
    return analysis, Solution.of(analysis.space, removed)


def only_zeroed(analysis: Analysis, solution: Solution) -> onnx.ModelProto:
    """What a check by zeroing would compare with: no masks."""
    weights = {tensor.name: tensor for tensor in analysis.loaded.model.graph.initializer}
    for name, slices in zero_slices(analysis.space, solution).items():
        if name in weights:
            weights[name] = zeroed(weights[name], slices)
    model = copy_without(analysis.loaded.model, "initializer")
    model.graph.initializer.extend(weights.values())
    return model


@pytest.mark.parametrize("name", CASES)
def test_the_masked_form_is_the_cut_model_and_zeroing_is_not(name: str) -> None:
    analysis, solution = without_a_third(name)
    cut, keep = shrink(analysis, solution), analysis.effects(solution).keep
    original = analysis.loaded.model
    assert prove(mask(analysis, solution), cut, original=original, keep=keep).passed
    with pytest.raises(ProofFailedError, match="G3"):
        prove(only_zeroed(analysis, solution), cut, original=original, keep=keep)


@pytest.mark.parametrize("name", CASES)
def test_training_leads_units_out_smoothly_and_ends_at_the_masked_model(name: str) -> None:
    """Gate G2, and no jump on the way: half-way in, the output lies between both ends."""
    analysis, solution = without_a_third(name)
    imported = import_model(analysis.maskable())
    binding = bind(analysis, imported)
    layout = binding.layout()
    feeds = feeds_of(analysis.loaded.model, 2)
    assert disagreement(imported, analysis.loaded.model, feeds, seed=0) is None
    removed = torch.zeros(binding.num_units, dtype=torch.bool)
    for key, units in solution.removed.items():
        removed[[binding.first_unit[key] + unit for unit in units]] = True
    names = {mask.name for mask in analysis.masks}
    trained = dict(imported.module.named_parameters())
    assert names <= set(imported.tensors)
    assert not names & set(trained)
    with torch.no_grad():
        scale(layout.tensors, layout.positions(removed), 1e-4)
        near = disagreement(imported, mask(analysis, solution), feeds, seed=0)
        assert near is None or near.difference < 0.05
        fill_zero(layout.tensors, layout.positions(removed))
    assert disagreement(imported, mask(analysis, solution), feeds, seed=0) is None
    assert disagreement(imported, only_zeroed(analysis, solution), feeds, seed=0) is not None


def test_masks_do_not_count_as_weights() -> None:
    analysis, _ = without_a_third("layernorm_mlp")
    imported = import_model(analysis.maskable())
    layout = bind(analysis, imported).layout()
    names = {mask.name for mask in analysis.masks}
    ones = [torch.ones_like(tensor) for tensor in layout.tensors]
    masks = [imported.tensors[name] for name in names]
    with torch.no_grad():
        for tensor in masks:
            tensor.fill_(1e6)
        assert torch.equal(layout.sums(ones), layout.size)
        sums = layout.sums(layout.tensors)
    assert float(sums.abs().max()) < 1e6
    assert bool((layout.size > 0).all())
