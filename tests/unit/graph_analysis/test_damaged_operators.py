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


def test_a_quantised_gemm_of_a_tensor_that_is_no_matrix() -> None:
    """It has no multiplications, and no way past it."""
    model = HARD_CASES["qlinear_convolutions"]()
    node = next(node for node in model.graph.node if node.op_type == "QGemm")
    flatten = next(n for n in model.graph.node if node.input[0] in n.output)
    flatten.op_type = "ReduceMax"
    del flatten.attribute[:]
    flatten.attribute.extend(
        [onnx.helper.make_attribute("axes", [0, 2, 3]), onnx.helper.make_attribute("keepdims", 0)]
    )
    analysis = analyze(load_model(model.SerializeToString()))
    assert analysis.graph.shape(node.output[0]) is not None
    assert not any(s.initializer == node.input[3] for g in analysis.space.groups for s in g.cut)


def test_heads_that_are_no_number() -> None:
    model = HARD_CASES["grouped_query_operator"]()
    node = next(node for node in model.graph.node if node.op_type == "GroupQueryAttention")
    given = next(a for a in node.attribute if a.name == "kv_num_heads")
    given.CopyFrom(onnx.helper.make_attribute("kv_num_heads", [0.5]))
    analysis = analyze(load_model(model.SerializeToString()))
    assert not {"head"} & {group.kind.value for group in analysis.space.groups}


def test_a_shape_operator_of_an_unknown_domain() -> None:
    model = HARD_CASES["residual_add"]()
    model.opset_import.add(domain="elsewhere", version=1)
    model.graph.node.insert(0, onnx.helper.make_node("Shape", [], ["no"], domain="elsewhere"))
    assert analyze(load_model(model.SerializeToString())).space.groups


@pytest.mark.parametrize(
    ("name", "op_type", "attribute"),
    [
        ("scan_batch_first", "Scan", onnx.helper.make_attribute("scan_output_axes", [1, 1])),
        ("scan_batch_first", "Scan", onnx.helper.make_attribute("num_scan_inputs", 2)),
        ("scan_batch_first", "Scan", onnx.helper.make_attribute("scan_input_directions", [0, 1])),
        ("lone_split", "Split", onnx.helper.make_attribute("num_outputs", 1)),
    ],
)
def test_counts_that_disagree_with_the_node(
    name: str, op_type: str, attribute: onnx.AttributeProto
) -> None:
    model = lone_split() if name == "lone_split" else HARD_CASES[name]()
    load_model(model.SerializeToString())
    node = next(node for node in model.graph.node if node.op_type == op_type)
    kept = [a for a in node.attribute if a.name != attribute.name]
    del node.attribute[:]
    node.attribute.extend([*kept, attribute])
    with pytest.raises(ModelError, match="say") as raised:
        load_model(model.SerializeToString())
    assert raised.value.code == "model-attribute"


def lone_split() -> onnx.ModelProto:
    split = onnx.helper.make_node("Split", ["x"], ["a", "b"], name="split", axis=1, num_outputs=2)
    joined = onnx.helper.make_node("Add", ["a", "b"], ["y"], name="add")
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size])
        for name, size in (("x", 8), ("y", 4))
    ]
    graph = onnx.helper.make_graph([split, joined], "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
