"""Operators with attributes that no exporter writes are boundaries, never a crash."""

import onnx
import pytest

from graph_analysis.errors import ModelError
from graph_analysis.labels import Axes, Labelling
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.rules import registry
from graph_analysis.testing import HARD_CASES
from graph_analysis.trace_graph import Vertex


def test_an_equation_that_is_no_text() -> None:
    model = HARD_CASES["einsum_projections"]()
    node = next(node for node in model.graph.node if node.op_type == "Einsum")
    node.attribute[0].s = b"ab,\x89bc->ac"
    analysis = analyze(load_model(model.SerializeToString()))
    assert any(node.name in entry.reason for entry in analysis.space.frozen)


@pytest.mark.parametrize("name", ["concat", "pyramid_pooling", "multi_branch_inception_pool"])
def test_a_concat_along_an_axis_that_is_not_there(name: str) -> None:
    model = HARD_CASES[name]()
    node = next(node for node in model.graph.node if node.op_type == "Concat")
    node.attribute[0].i = 7
    analysis = analyze(load_model(model.SerializeToString()))
    assert not analysis.structures


def test_a_rule_that_cannot_go_on_makes_a_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what it let go before."""

    def broken(labelling: Labelling, vertex: Vertex) -> list[Axes]:
        labelling.of(vertex.inputs[1])
        raise ValueError

    monkeypatch.setitem(registry._RULES, "Conv", broken)
    analysis = analyze(load_model(HARD_CASES["conv1d"]().SerializeToString()))
    convolved = {
        name
        for vertex in analysis.graph.vertices
        if vertex.op_type == "Conv"
        for name in vertex.inputs[1:]
    }
    assert not convolved & {s.initializer for g in analysis.space.groups for s in g.cut}
    frozen = {e.initializer: e.reason for e in analysis.space.frozen}
    assert all("its inputs do not fit together" in frozen[name] for name in convolved)


def test_what_is_refused_for_a_reason_stays_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on labels is no misfit: it ends the analysis with its message."""
    monkeypatch.setattr("graph_analysis.labels.MAX_LABELS", 50)
    model: onnx.ModelProto = HARD_CASES["conv1d"]()
    with pytest.raises(ModelError, match="positions, too many to follow"):
        analyze(load_model(model.SerializeToString()))
