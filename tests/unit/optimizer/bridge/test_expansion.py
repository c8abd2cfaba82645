import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from optimizer.bridge import expansion
from optimizer.bridge.expansion import BODY_DOC, with_bodies
from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    run_imported,
)


def modifier() -> onnx.GraphProto:
    """Adds a bias to the scores, which the graph holds as an initializer."""
    sizes = ["B", "H", "L", "S"]
    return helper.make_graph(
        [helper.make_node("Add", ["scores", "bias"], ["moved"])],
        "modifier",
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("moved", TensorProto.FLOAT, sizes)],
        [numpy_helper.from_array(floats(6), "bias")],
    )


def attention(**attributes: object) -> onnx.ModelProto:
    """Two nodes one after the other, the first on a weight."""
    preview = "ai.onnx.preview"
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["query"]),
        helper.make_node(
            "FlexAttention", ["query", "k", "v"], ["y"], "attend", domain=preview, **attributes
        ),
        helper.make_node("FlexAttention", ["y", "k", "v"], ["z"], "again", domain=preview),
    ]
    shapes = {"x": ["batch", 4, 3, 8], "k": ["batch", 2, 6, 8], "v": ["batch", 2, 6, 8]}
    model = model_of(nodes, shapes, ["z"], {"w": floats(8, 8)}, opset=26)
    model.opset_import.append(helper.make_opsetid(preview, 1))
    return model


FEEDS = {"x": floats(2, 4, 3, 8), "k": floats(2, 2, 6, 8, seed=2), "v": floats(2, 2, 6, 8, seed=3)}


def test_an_operator_without_a_translator_is_its_body() -> None:
    for attributes in ({}, {"scale": 0.5}, {"score_mod": modifier()}):
        model = attention(**attributes)
        imported = import_model(model)
        expected = [np.asarray(part) for part in ReferenceEvaluator(model).run(None, FEEDS)]
        assert_same(run_imported(imported, FEEDS), expected)
        copied = copy.deepcopy(imported)
        assert_same(run_imported(copied, FEEDS), expected)


def test_only_what_the_file_holds_is_a_weight() -> None:
    imported = import_model(attention(score_mod=modifier()))
    assert set(imported.weights()) == {"w"}
    assert [name for name, _ in imported.module.named_parameters()] == ["w"]
    imported.module(*map(torch.from_numpy, FEEDS.values())).sum().backward()
    assert bool(imported.tensors["w"].grad.any())


def test_models_without_such_operators_are_returned_as_they_are() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"], {})
    assert with_bodies(model) is model


def test_the_nodes_of_a_body_keep_the_name_of_theirs() -> None:
    model = attention()
    nodes = [node for node in with_bodies(model).graph.node if node.doc_string == BODY_DOC]
    assert {node.name for node in nodes} == {"attend", "again"}
    assert len({name for node in nodes for name in node.output}) == len(nodes)
    assert [node.op_type for node in model.graph.node][1:] == ["FlexAttention"] * 2


def hide(*op_types: str) -> object:
    """A registry without some operators."""
    known = expansion.find
    return lambda domain, name, version: None if name in op_types else known(domain, name, version)


def normalized(x: str) -> onnx.ModelProto:
    node = helper.make_node("MeanVarianceNormalization", [x], ["y"], "normal", axes=[0, 2])
    return model_of([node], {"x": [2, 3, 4]}, ["y"], {}, opset=17)


def test_attributes_of_the_node_reach_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    x = floats(2, 3, 4)
    expected = run_imported(import_model(normalized("x")), {"x": x})
    monkeypatch.setattr(expansion, "find", hide("MeanVarianceNormalization"))
    model = with_bodies(normalized("x"))
    assert len(model.graph.node) > 1
    assert_same(run_imported(import_model(model), {"x": x}), expected)


def test_bodies_within_bodies_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_imported(import_model(attention()), FEEDS)
    monkeypatch.setattr(expansion, "find", hide("Softmax"))
    opened = {node.op_type for node in with_bodies(attention()).graph.node}
    assert not opened & {"FlexAttention", "Softmax"}
    assert_same(run_imported(import_model(attention()), FEEDS), expected)


def test_an_output_that_nobody_wants_may_still_be_needed_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = helper.make_node(
        "LayerNormalization", ["x", "scale"], ["y", "", "deviation"], "normal", axis=-1
    )
    outputs = ["y", "deviation"]
    model = model_of([node], {"x": [2, 5]}, outputs, {"scale": floats(5)}, opset=17)
    expected = run_imported(import_model(model), {"x": floats(2, 5)})
    monkeypatch.setattr(expansion, "find", hide("LayerNormalization"))
    assert len(with_bodies(model).graph.node) > 1
    assert_same(run_imported(import_model(model), {"x": floats(2, 5)}), expected)


def test_a_body_that_is_not_covered_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "find", hide("MatMul"))
    with pytest.raises(UnsupportedOperatorsError, match=r"'FlexAttention' .* at 'attend', 'again'"):
        import_model(attention())
