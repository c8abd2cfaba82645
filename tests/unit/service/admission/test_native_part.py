"""Skeletons and inference: what native code gets, and how its failures are worded."""

import onnx
import pytest
from onnx import TensorProto, helper

from service.admission.inference import check_activations, check_inferred
from service.admission.limits import AdmissionLimits
from service.admission.skeleton import skeleton_of
from service.errors import AdmissionError
from tests.unit.service.admission import models as m

_LIMITS = AdmissionLimits()


def test_a_skeleton_keeps_small_tensors_and_the_original() -> None:
    made = m.classifier()
    made.graph.initializer.append(m.weight("large", 200, 200))
    before = made.SerializeToString()
    skeleton = skeleton_of(made)
    assert [tensor.name for tensor in skeleton.graph.initializer] == ["w", "b", "v"]
    assert [value.name for value in skeleton.graph.input] == ["x", "large"]
    assert made.SerializeToString() == before


def test_functions_that_cannot_be_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = m.calling(m.function("f0", []), callee="f0")
    monkeypatch.setattr("onnx.inliner.inline_local_functions", lambda model, **_: model)
    with pytest.raises(AdmissionError, match="versions differ") as caught:
        skeleton_of(made)
    assert caught.value.code == "model-functions"

    def fail(*_: object, **__: object) -> None:
        message = "no adapter in /usr/lib/secret"
        raise RuntimeError(message)

    monkeypatch.setattr("onnx.inliner.inline_local_functions", fail)
    with pytest.raises(AdmissionError) as caught:
        skeleton_of(made)
    assert caught.value.code == "model-functions"
    assert "secret" not in str(caught.value)


def test_values_inside_that_are_no_tensors() -> None:
    made = m.model(m.chain("Relu"))
    made.graph.value_info.add(name="untyped")
    made.graph.value_info.add(name="open").type.tensor_type.SetInParent()
    check_activations(made, _LIMITS)
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    made.graph.value_info.append(helper.make_value_info("list", kind))
    with pytest.raises(AdmissionError, match="'list'") as caught:
        check_activations(made, _LIMITS)
    assert caught.value.code == "model-type"


def test_the_checker_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        message = "something at (op_type:Relu, node name: y_n0) in /usr/lib/secret"
        raise onnx.checker.ValidationError(message)

    monkeypatch.setattr("onnx.checker.check_model", fail)
    with pytest.raises(AdmissionError, match="node 'y_n0'") as caught:
        check_inferred(m.model(m.chain("Relu")), _LIMITS)
    assert caught.value.code == "model-shape-mismatch"
    assert "secret" not in str(caught.value)
