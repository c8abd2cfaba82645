"""What must be let in, and the figures that come out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis.testing import HARD_CASES
from service.admission import Admission, AdmissionLimits, TensorInfo, admit
from service.admission.allowed import importable_operators
from service.admission.inspection import inspect_bytes
from service.admission.standard import standard_operators
from service.errors import AdmissionError
from tests.unit.service.admission import models as m

_LIMITS = AdmissionLimits()
_OPERATORS = standard_operators()


def _inspect(model: onnx.ModelProto, limits: AdmissionLimits = _LIMITS) -> Admission:
    return inspect_bytes(model.SerializeToString(), limits, _OPERATORS)


def test_figures_of_the_classifier_through_the_child(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(m.classifier().SerializeToString())
    assert admit(path) == Admission(
        nodes=5,
        parameters=8 * 27 + 8 + 80,
        opset=17,
        ir_version=10,
        producer="tests",
        inputs=(TensorInfo(name="x", dtype="float32", shape=("batch", 3, 8, 8)),),
        outputs=(TensorInfo(name="y", dtype="float32", shape=("batch", 10)),),
        operators={"Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "Relu": 1},
    )


def test_functions_count_expanded() -> None:
    made = m.calling(m.function("f0", ["f1", "f1"]), m.function("f1", []), callee="f0")
    admission = _inspect(made)
    assert admission.nodes == 3
    assert admission.operators == {"Relu": 3}


def test_functions_of_another_opset_are_converted() -> None:
    assert _inspect(m.calling(m.function("f0", [], opset=15), callee="f0")).nodes == 1


def test_bodies_count() -> None:
    loop = m.looping([helper.make_node("Relu", ["s"], ["t"], name="r")], trips=2**62)
    assert _inspect(loop).nodes == 3
    branches = [
        m.if_body(name, helper.make_node("Relu", ["x"], [name], name=name), output=name)
        for name in ("t", "e")
    ]
    assert _inspect(m.branching(*branches)).nodes == 3


def test_scans_are_fine() -> None:
    scan = m.scanning([helper.make_node("Relu", ["s"], ["t"], name="r")])
    assert _inspect(scan).operators == {"Relu": 1, "Scan": 1}


def test_recurrent_outputs_may_be_left_out() -> None:
    lstm = helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], name="l", hidden_size=4)
    made = m.model(
        [lstm], inputs=[m.value("x", (5, "batch", 3))],
        initializers=[m.weight("w", 1, 16, 3), m.weight("r", 1, 16, 4)],
    )  # fmt: skip
    assert _inspect(made).outputs[0].shape == (1, "batch", 4)


def test_old_files_list_their_weights_as_inputs() -> None:
    made = m.classifier()
    made.ir_version = 3
    for tensor in made.graph.initializer:
        made.graph.input.append(m.value(tensor.name, tensor.dims))
    assert [entry.name for entry in _inspect(made).inputs] == ["x"]


def test_infinite_constants_that_are_no_weights_are_fine() -> None:
    mask = numpy_helper.from_array(np.array([0, -np.inf, 0, 0], np.float32), "mask")
    add = helper.make_node("Add", ["x", "mask"], ["y"], name="a")
    assert _inspect(m.model([add], initializers=[mask])).parameters == 4


def test_half_precision_and_typed_fields() -> None:
    half = numpy_helper.from_array(np.ones((4, 4), np.float16), "w")
    made = m.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="p")],
        inputs=[m.value("x", ("n", 4), TensorProto.FLOAT16)],
        outputs=[m.value("y", ("n", 4), TensorProto.FLOAT16)],
        initializers=[half],
    )
    assert _inspect(made).inputs[0].dtype == "float16"
    typed = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], [1.0] * 16)
    made = m.model([helper.make_node("MatMul", ["x", "w"], ["y"])], initializers=[typed])
    assert _inspect(made).parameters == 16


def test_large_weights_are_not_handed_to_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = onnx.shape_inference.infer_shapes

    def infer(model: onnx.ModelProto, **options: bool) -> onnx.ModelProto:
        seen.append(model.ByteSize())
        return real(model, **options)

    monkeypatch.setattr("onnx.shape_inference.infer_shapes", infer)
    made = m.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="p")],
        inputs=[m.value("x", ("n", 512))],
        initializers=[m.weight("w", 512, 512)],
    )
    assert _inspect(made).outputs[0].shape == ("n", 512)
    assert seen[0] < 1000


def test_operators_that_the_importer_does_not_list_are_refused() -> None:
    with pytest.raises(AdmissionError, match="Relu") as caught:
        inspect_bytes(m.classifier().SerializeToString(), _LIMITS, frozenset({("", "Conv")}))
    assert caught.value.code == "model-unsupported-op"
    assert "Gemm (opset 17) at node 'gemm'" in str(caught.value)


def test_the_verdict_does_not_depend_on_names() -> None:
    made = m.classifier()
    text = made.SerializeToString()
    for index, node in enumerate(made.graph.node):
        node.name = f"other/{index}:0|ü"
    first, second = inspect_bytes(text, _LIMITS, _OPERATORS), _inspect(made)
    assert first == second


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (AdmissionLimits(nodes=4), "model-too-complex"),
        (AdmissionLimits(messages=10), "model-too-complex"),
        (AdmissionLimits(fields=10), "model-too-complex"),
        (AdmissionLimits(message_depth=2), "model-too-deep"),
        (AdmissionLimits(rank=3), "model-rank"),
        (AdmissionLimits(tensor_bytes=100), "model-tensor-too-large"),
        (AdmissionLimits(activation_bytes=100), "model-activation-too-large"),
        (AdmissionLimits(activations_bytes=100), "model-activation-too-large"),
        (AdmissionLimits(name_length=3), "model-name-too-long"),
        (AdmissionLimits(node_inputs=2), "model-too-complex"),
        (AdmissionLimits(node_attributes=0), "model-too-complex"),
    ],
)
def test_every_limit_is_a_setting(limits: AdmissionLimits, code: str) -> None:
    with pytest.raises(AdmissionError) as caught:
        _inspect(m.classifier(), limits)
    assert caught.value.code == code
    assert caught.value.limit is not None


def test_more_unknown_operators_than_fit_are_counted() -> None:
    nodes = [helper.make_node(f"Foo{i}", ["x"], [f"y{i}"], name=f"n{i}") for i in range(25)]
    with pytest.raises(AdmissionError, match="and 5 more") as caught:
        _inspect(m.model([*nodes, *m.chain("Relu")]))
    assert caught.value.code == "model-unsupported-op"


@pytest.mark.parametrize("name", sorted(HARD_CASES))
def test_hard_cases_are_admitted_if_they_can_be_imported(name: str) -> None:
    model = HARD_CASES[name]()
    operators = frozenset(importable_operators() or ())
    used = {(node.domain, node.op_type) for node in model.graph.node}
    if name.startswith("function_"):  # their own domain is that of the functions
        used = {(domain, op_type) for domain, op_type in used if not domain}
    if used <= operators:
        assert inspect_bytes(model.SerializeToString(), _LIMITS, operators).nodes
        return
    with pytest.raises(AdmissionError) as refused:
        inspect_bytes(model.SerializeToString(), _LIMITS, operators)
    assert refused.value.code == "model-quantised"  # the only ones that cannot
