"""Graphs that are none are refused by name; graphs whose parts do not fit are boundaries."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis import soundness
from graph_analysis.errors import ModelError
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.testing import HARD_CASES


def built(name: str = "residual_add") -> onnx.ModelProto:
    return HARD_CASES[name]()


def analysed(model: onnx.ModelProto) -> Analysis:
    return analyze(load_model(model.SerializeToString()))


def node_of(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op_type)


def weight_of(model: onnx.ModelProto, rank: int) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if len(tensor.dims) == rank)


def set_array(tensor: onnx.TensorProto, array: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def reads_nothing(model: onnx.ModelProto) -> None:
    model.graph.node[2].input[0] = "nowhere"


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[3].output[0]


def made_twice(model: onnx.ModelProto) -> None:
    model.graph.node[2].output[0] = model.graph.node[1].output[0]


def makes_a_weight(model: onnx.ModelProto) -> None:
    model.graph.node[2].output[0] = model.graph.initializer[0].name


def two_weights_of_one_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def no_outputs(model: onnx.ModelProto) -> None:
    del model.graph.node[-1].output[:]


def output_from_nowhere(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nowhere"


def negative_length(model: onnx.ModelProto) -> None:
    weight_of(model, 4).dims[0] = -3


def data_too_short(model: onnx.ModelProto) -> None:
    weight_of(model, 4).dims[0] = 10**12


def type_that_is_none(model: onnx.ModelProto) -> None:
    weight_of(model, 4).data_type = 99


def huge_and_empty(model: onnx.ModelProto) -> None:
    tensor = weight_of(model, 1)
    tensor.CopyFrom(TensorProto(name=tensor.name, data_type=1, dims=[0, 10**12]))


def attribute_of_another_type(model: onnx.ModelProto) -> None:
    node = node_of(model, "Conv")
    node.attribute.append(helper.make_attribute("group", "many"))


def required_attribute_missing(model: onnx.ModelProto) -> None:
    model.graph.node.append(
        helper.make_node("Concat", [model.graph.output[0].name] * 2, ["joined"])
    )


def operator_without_a_name(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = ""


def version_from_the_future(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def two_versions(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="ai.onnx", version=7)


def function_calls_itself(model: onnx.ModelProto) -> None:
    add_functions(model, [["F1"], ["F0"]])


def doubling_functions(model: onnx.ModelProto) -> None:
    add_functions(model, [[f"F{i + 1}"] * 2 for i in range(40)] + [["Relu"]])


def add_functions(model: onnx.ModelProto, calls: list[list[str]]) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for number, callees in enumerate(calls):
        names = [f"x{i}" for i in range(len(callees) + 1)]
        nodes = [
            helper.make_node(c, [names[i]], [names[i + 1]], domain="" if c == "Relu" else "local")
            for i, c in enumerate(callees)
        ]
        function = helper.make_function("local", f"F{number}", ["x0"], names[-1:], nodes, opsets)
        model.functions.append(function)
    model.opset_import.add(domain="local", version=1)
    relu = node_of(model, "Relu")
    relu.op_type, relu.domain = "F0", "local"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (reads_nothing, "model-not-sorted"),
        (cycle, "model-not-sorted"),
        (made_twice, "model-duplicate-name"),
        (makes_a_weight, "model-duplicate-name"),
        (two_weights_of_one_name, "model-duplicate-name"),
        (no_outputs, "model-output-missing"),
        (output_from_nowhere, "model-output-missing"),
        (negative_length, "model-dim-negative"),
        (data_too_short, "model-tensor-size"),
        (type_that_is_none, "model-tensor-size"),
        (huge_and_empty, "model-tensor-size"),
        (attribute_of_another_type, "model-attribute"),
        (required_attribute_missing, "model-attribute"),
        (operator_without_a_name, "model-unsupported-op"),
        (version_from_the_future, "model-opset"),
        (two_versions, "model-opset"),
        (function_calls_itself, "model-functions"),
        (doubling_functions, "model-too-complex"),
    ],
)
def test_what_is_no_graph_is_refused(damage: Callable[[onnx.ModelProto], None], code: str) -> None:
    model = built()
    damage(model)
    with pytest.raises(ModelError) as raised:
        analysed(model)
    assert raised.value.code == code
    assert "\n" not in str(raised.value)
    assert "; " in str(raised.value)  # what to do


def test_names_that_are_no_text_are_refused() -> None:
    model = built()
    model.graph.node[0].name = "name-to-break"
    data = model.SerializeToString().replace(b"name-to-break", b"name\xff\xfeo-break")
    with pytest.raises(ModelError) as raised:
        analyze(load_model(data))
    assert raised.value.code in ("model-bad-name", "model-truncated", "model-not-onnx")


def test_functions_that_are_called_often_are_expanded() -> None:
    model = built()
    add_functions(model, [[f"F{i + 1}"] * 2 for i in range(5)] + [["Relu"]])
    assert len(analysed(model).graph.vertices) == len(built().graph.node) + 31


def test_the_bound_on_functions_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built()
    add_functions(model, [["F1"] * 2, ["F2"] * 2, ["Relu"]])
    # the nodes of the graph, and behind one of them 2 calls of F1, 4 of F2, 4 operators
    nodes = len(model.graph.node) + 2 + 4 + 4
    monkeypatch.setattr(soundness, "MAX_EXPANDED_NODES", nodes)
    soundness.check_functions(model)
    monkeypatch.setattr(soundness, "MAX_EXPANDED_NODES", nodes - 1)
    with pytest.raises(ModelError):
        soundness.check_functions(model)


@pytest.mark.parametrize("name", HARD_CASES)
def test_sound_models_pass(name: str) -> None:
    soundness.check_sound(built(name))


# Parts that do not fit ----------------------------------------------------------------------------


def bias_of_another_length(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Conv" and len(n.input) > 2)
    tensor = next(t for t in model.graph.initializer if t.name == node.input[2])
    set_array(tensor, np.ones(tensor.dims[0] + 1, np.float32))


def weight_of_another_rank(model: onnx.ModelProto) -> None:
    name = node_of(model, "Conv").input[1]
    tensor = next(t for t in model.graph.initializer if t.name == name)
    set_array(tensor, np.ones((2, 3), np.float32))


def other_channels(model: onnx.ModelProto) -> None:
    name = [n for n in model.graph.node if n.op_type == "Conv"][-1].input[1]
    tensor = next(t for t in model.graph.initializer if t.name == name)
    set_array(tensor, np.ones((tensor.dims[0], tensor.dims[1] + 2, 3, 3), np.float32))


def gemm_of_another_rank(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == node_of(model, "Gemm").input[1])
    set_array(tensor, np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("flatten_fc", bias_of_another_length),
        ("flatten_fc", weight_of_another_rank),
        ("conv3d", other_channels),
        ("flatten_fc", gemm_of_another_rank),
    ],
)
def test_what_does_not_fit_stays(name: str, damage: Callable[[onnx.ModelProto], None]) -> None:
    model = built(name)
    damage(model)
    analysis = analysed(model)
    assert len(analysis.space.groups) < len(analysed(built(name)).space.groups)
    reasons = {entry.reason for entry in analysis.space.frozen}
    assert any("do not fit together" in r or "unknown" in r for r in reasons), reasons


@pytest.mark.parametrize("op_type", ["ConstantOfShape", "Expand", "Tile", "Range"])
def test_a_few_bytes_that_ask_for_terabytes_get_none(
    op_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built()
    sizes = numpy_helper.from_array(np.array([10**6, 10**6], np.int64), "sizes")
    one = numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    ends = [numpy_helper.from_array(np.array(v, np.int64), f"e{v}") for v in (0, 10**12, 1)]
    model.graph.initializer.extend([sizes, one, *ends])
    inputs = {"ConstantOfShape": ["sizes"], "Range": ["e0", "e1000000000000", "e1"]}
    node = helper.make_node(op_type, inputs.get(op_type, ["one", "sizes"]), ["huge"])
    model.graph.node.insert(0, node)
    model.graph.node.insert(1, helper.make_node("Abs", ["huge"], ["used"]))
    made = []
    monkeypatch.setattr(
        "graph_analysis.shapes._fold", lambda node, *_: made.append(node.op_type) or False
    )
    analysed(model)
    assert op_type not in made


def test_doubling_concats_end_in_a_boundary() -> None:
    model = built("conv1d")
    source = weight_of(model, 3).name
    for step in range(40):
        node = helper.make_node("Concat", [source, source], [f"double_{step}"], axis=0)
        model.graph.node.insert(step, node)
        source = f"double_{step}"
    assert analysed(model).graph.shape(source) is None


def test_a_long_chain_is_no_deep_recursion() -> None:
    model = built("conv1d")
    source = model.graph.input[0].name
    for step in range(3000):
        model.graph.node.insert(step, helper.make_node("Relu", [source], [f"chain_{step}"]))
        source = f"chain_{step}"
    node_of(model, "Conv").input[0] = source
    assert len(analysed(model).graph.vertices) > 3000
