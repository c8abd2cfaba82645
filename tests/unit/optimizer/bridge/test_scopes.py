import onnx
import pytest
from onnx import numpy_helper, parser

from graph_analysis.bodies import graphs_of
from graph_analysis.errors import ModelError
from graph_analysis.testing import HARD_CASES
from optimizer.bridge.module import import_model
from optimizer.bridge.scopes import all_nodes, prepare
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, run_imported, run_ort

# The batched Scan of opset 8 is not laid out flat.
BATCHED = """<ir_version: 8, opset_import: ["" : 8]>
graph (float[2,3,4] x) => (float[2,3,4] y) {
    m = MatMul (x, w)
    z = Scan <num_scan_inputs = 1,
      body: graph = b (float[4] p) => (float[4] o) <float[4,4] v = {0}>
      { w2 = MatMul (p, v) o = Tanh (w2) }> ("", m)
    y = Mul (z, x)
}"""


def _batched(outer: str) -> onnx.ModelProto:
    model = parser.parse_model(BATCHED.replace("(x, w)", f"(x, {outer})"))
    model.graph.initializer.append(numpy_helper.from_array(floats(4, 4), outer))
    body = next(body for node in model.graph.node for _, body in graphs_of(node))
    body.initializer[0].CopyFrom(numpy_helper.from_array(floats(4, 4, seed=3), "v"))
    return model


def test_a_model_without_bodies_is_left_alone() -> None:
    model = HARD_CASES["loop_stacks"]()
    del model.graph.node[1:]
    assert prepare(model).model is model
    assert prepare(model).flat is model.graph


@pytest.mark.parametrize("name", ["if_conv_chains", "if_in_loop", "scan_rnn", "if_nested"])
def test_names_are_unique_and_weights_in_the_main_graph(name: str) -> None:
    model = HARD_CASES[name]()
    before = model.SerializeToString()
    prepared = prepare(model)
    nodes = all_nodes(prepared.model.graph.node)
    made = [output for node in nodes for output in node.output if output]
    assert len(made) == len(set(made))
    bodies = [body for node in nodes for _, body in graphs_of(node)]
    assert bodies
    assert not any(body.initializer for body in bodies)
    main = {tensor.name for tensor in prepared.model.graph.initializer}
    assert main == {tensor.name for tensor in prepared.flat.initializer}
    assert model.SerializeToString() == before
    onnx.checker.check_model(prepared.model)


@pytest.mark.parametrize("name", ["if_conv_chains", "if_in_loop", "scan_rnn"])
def test_preparing_again_changes_no_name(name: str) -> None:
    once = prepare(HARD_CASES[name]()).model
    again = prepare(once).model
    assert [t.name for t in again.graph.initializer] == [t.name for t in once.graph.initializer]
    assert [list(n.output) for n in all_nodes(again.graph.node)] == [
        list(n.output) for n in all_nodes(once.graph.node)
    ]


@pytest.mark.parametrize(("outer", "inner"), [("w", "v"), ("v", "v__2")])
def test_what_is_left_whole_gets_its_names_last(outer: str, inner: str) -> None:
    model = _batched(outer)
    feeds = {"x": floats(2, 3, 4)}
    imported = import_model(model)
    assert {name for name, _ in imported.module.named_parameters()} == {outer, inner}
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))


def test_functions_that_cannot_be_inlined_are_refused() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    graph (float[4] x) => (float[4] y) { y = own.F (x) }
    <domain: "own", opset_import: ["" : 17, "own" : 1]> F (a) => (b) { b = own.F (a) }"""
    with pytest.raises(ModelError, match="function"):
        import_model(parser.parse_model(text))
