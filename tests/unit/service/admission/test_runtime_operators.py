"""Models in ONNX Runtime's own operators (com.microsoft) at the gate."""

from collections.abc import Callable
from typing import Any

import onnx
import onnxruntime.capi.onnxruntime_pybind11_state as runtime
import pytest
from onnx import TensorProto, helper

from graph_analysis.testing import fused
from service.admission.allowed import importable_operators
from service.admission.inspection import inspect_bytes
from service.admission.limits import AdmissionLimits
from service.admission.rules.runtime_operators import RUNTIME_OPERATORS
from service.admission.values import Admission
from service.errors import AdmissionError
from tests.unit.service.admission.models import model


def _inspect(built: onnx.ModelProto, **limits: int) -> Admission:
    operators = frozenset(importable_operators() or ())
    return inspect_bytes(built.SerializeToString(), AdmissionLimits(**limits), operators)


def _microsoft(name: str) -> bool:
    return any(domain == "com.microsoft" and name == listed for domain, listed in RUNTIME_OPERATORS)


MICROSOFT_CASES = [
    case
    for case in fused.CASES
    if any(_microsoft(node.op_type) for node in case().graph.node if node.domain)
]


@pytest.mark.parametrize("build", MICROSOFT_CASES, ids=lambda build: build.__name__)
def test_models_that_can_be_imported_are_admitted(build: Callable[[], onnx.ModelProto]) -> None:
    built = build()
    admitted = _inspect(built)
    named = {f"com.microsoft.{node.op_type}" for node in built.graph.node if node.domain}
    assert named
    assert named <= set(admitted.operators)


def _one(op_type: str, inputs: list[str], *, domain: str = "com.microsoft", **given: Any) -> Any:
    node = helper.make_node(op_type, inputs, ["y"], domain=domain, name="n", **given)
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [4], [1.0] * 4)
    return model([node], opsets=[("", 11), ("com.microsoft", 1)], initializers=[scale])


@pytest.mark.parametrize("op_type", ["SimplifiedLayerNormalization", "LayerNormalization"])
def test_norms_that_the_runtime_writes_into_the_default_domain(op_type: str) -> None:
    admitted = _inspect(_one(op_type, ["x", "scale"], domain=""))
    assert admitted.operators == {op_type: 1}


@pytest.mark.parametrize(
    ("built", "code"),
    [
        (_one("FusedConv", ["x"]), "model-shape-mismatch"),
        (_one("Gelu", ["x", "x"]), "model-shape-mismatch"),
        (_one("FusedMatMul", ["x", ""]), "model-shape-mismatch"),
        (_one("Gelu", ["x"], beta=1), "model-attribute"),
        (_one("QuickGelu", ["x"], alpha="one"), "model-attribute"),
        (_one("Attention", ["x", "x"]), "model-attribute"),
        (_one("Attention", ["x", "x"], num_heads=0), "model-attribute"),
        (_one("MatMulNBits", ["x", "x", "x"]), "model-quantised"),
        (_one("EPContext", ["x"]), "model-domain"),
        (_one("Foo", ["x"], domain=""), "model-unsupported-op"),
    ],
)
def test_what_does_not_fit_is_refused(built: onnx.ModelProto, code: str) -> None:
    with pytest.raises(AdmissionError) as caught:
        _inspect(built)
    assert caught.value.code == code


def test_the_domain_has_to_be_imported() -> None:
    built = _one("Gelu", ["x"])
    del built.opset_import[1]
    with pytest.raises(AdmissionError, match="custom domain"):
        _inspect(built)


def test_tensors_behind_such_operators_count_as_well() -> None:
    nodes = [
        helper.make_node("Gelu", ["x"], ["a"], domain="com.microsoft"),
        helper.make_node("Expand", ["a", "shape"], ["b"]),
        helper.make_node("ReduceMax", ["b"], ["y"], keepdims=0),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1024, 64, 64])
    built = model(nodes, opsets=[("", 11), ("com.microsoft", 1)], initializers=[shape])
    built.graph.input[0].type.tensor_type.shape.CopyFrom(
        helper.make_tensor_value_info("x", 1, [64, 64]).type.tensor_type.shape
    )
    with pytest.raises(AdmissionError) as caught:
        _inspect(built, activation_bytes=2**20)
    assert caught.value.code == "model-activation-too-large"


def test_definitions_are_those_of_the_runtime() -> None:
    stated = {
        (schema.domain, schema.name): schema
        for schema in sorted(runtime.get_all_operator_schema(), key=lambda s: -s.since_version)
    }
    for key, definition in RUNTIME_OPERATORS.items():
        schema = stated[key]
        assert len(schema.inputs) == definition.most, key
        assert len(schema.outputs) == definition.outputs, key
        kinds = {name: int(item.type.value) for name, item in schema.attributes.items()}
        assert set(kinds) == set(definition.attributes), key
        required = {name for name, item in schema.attributes.items() if item.required}
        assert required == definition.required, key
        for index, formal in enumerate(schema.inputs):
            may_lack = index >= definition.least or index in definition.may_lack
            assert (formal.option.name == "Optional") == may_lack, (key, index)


def test_every_listed_operator_without_a_definition_elsewhere_has_one_here() -> None:
    for domain, name in importable_operators() or ():
        if domain and not onnx.defs.has(name, domain=domain):
            assert (domain, name) in RUNTIME_OPERATORS
