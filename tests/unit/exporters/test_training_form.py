"""The form of a cut model that training goes on with."""

import numpy as np
import pytest

from exporters.surgeon import shrink
from exporters.training_form import training_form
from graph_analysis.loading import load_model
from graph_analysis.masking import MASK_DOC, Mask
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.solution import Solution
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder


def analysed(name: str) -> Analysis:
    return analyze(load_model(HARD_CASES[name]().SerializeToString()))


def some(analysis: Analysis) -> Solution:
    """Half of the units of the first node group that can lose them."""
    for group in analysis.space.groups:
        if group.units > 2:
            solution = Solution.of(analysis.space, {group.id: range(group.units // 2)})
            if not analysis.violations(solution):
                return solution
    pytest.fail("nothing can go")


def test_masks_run_over_what_is_left_until_all_is_decided() -> None:
    analysis = analysed("layernorm_mlp")
    solution = some(analysis)
    form = training_form(analysis, solution, decided=False)
    masks = {
        tensor.name: tensor
        for tensor in form.model.graph.initializer
        if tensor.doc_string == MASK_DOC
    }
    assert set(masks) == {mask.name for mask in analysis.masks}
    for name, tensor in masks.items():
        kept = form.kept.get(name)
        if kept is not None:
            ((axis, index),) = kept.items()
            assert tensor.dims[axis] == len(index) < 32
    last = training_form(analysis, solution, decided=True)
    assert not any(tensor.doc_string == MASK_DOC for tensor in last.model.graph.initializer)
    kinds = [node.op_type for node in last.model.graph.node]
    assert "LayerNormalization" in kinds


def test_a_mask_over_rows_of_a_table_is_as_wide_as_the_table() -> None:
    analysis = analysed("embed_layer_normalization")
    form = training_form(analysis, some(analysis), decided=False)
    sizes = {tensor.name: list(tensor.dims) for tensor in form.model.graph.initializer}
    (mask,) = analysis.masks
    assert isinstance(mask, Mask)
    assert sizes[mask.name][mask.axis] == sizes[mask.tensor][mask.axis] < mask.length
    assert len(form.kept[mask.name][mask.axis]) == sizes[mask.name][mask.axis]


def test_what_is_kept_of_each_weight_is_what_the_surgeon_kept() -> None:
    analysis = analysed("residual_add")
    form = training_form(analysis, some(analysis), decided=True)
    before = {tensor.name: tensor for tensor in analysis.loaded.flat.graph.initializer}
    for tensor in form.model.graph.initializer:
        sizes = list(before[tensor.name].dims)
        for axis, index in form.kept.get(tensor.name, {}).items():
            sizes[axis] = len(index)
            assert np.all(np.diff(index) > 0)
        assert sizes == list(tensor.dims)


def test_equal_copies_stay_apart() -> None:
    """In the file they share a tensor again; in training each has its own gradient."""
    graph = GraphBuilder("copies", seed=3)
    ones, zeros = graph.constant(np.ones(8)), graph.constant(np.zeros(8))
    y = graph.input((BATCH, 3, 8, 8))
    for width in (3, 8):
        y = graph.conv(y, width, 8, bias=False)
        y = graph.node("BatchNormalization", y, ones, zeros, zeros, ones)
        y = graph.relu(y)
    graph.classify(y, 8)
    analysis = analyze(load_model(graph.build().SerializeToString()))
    copies = set(analysis.loaded.copies)
    assert copies
    solution = Solution.of(analysis.space, {analysis.space.groups[-1].id: [0]})
    form = training_form(analysis, solution, decided=True)
    assert copies <= {tensor.name for tensor in form.model.graph.initializer}
    in_file = {tensor.name for tensor in shrink(analysis, solution).graph.initializer}
    assert not copies <= in_file


def test_gates_stand_on_the_edges_that_are_left() -> None:
    """With the pools spliced out one after another a gate must not move to another edge."""
    analysis = analysed("pyramid_pooling")
    gates = {mask.name for mask in analysis.masks}
    for group in analysis.space.groups:
        solution = Solution.of(analysis.space, {group.id: [0]})
        if not group.id.startswith("operator") or analysis.violations(solution):
            continue
        model = training_form(analysis, solution, decided=False).model
        present = {tensor.name for tensor in model.graph.initializer if tensor.name in gates}
        read = {name for node in model.graph.node for name in node.input}
        assert present < gates
        assert present <= read
