"""Every supported operator at every version that opsets 7 and later know, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from optimizer.bridge.module import import_model
from optimizer.bridge.registry import find, supported_operators
from tests.unit.optimizer.bridge.onnx_models import assert_same, one_node, run_imported, run_ort
from tests.unit.optimizer.bridge.opset_cases import CASES, Case

OLDEST = 7
REFERENCE_ONLY = {"BitCast", "CumProd", "TensorScatter", "CausalConvWithState", "LinearAttention"}
NEWEST_OF_RUNTIME = 26
ONLY_MORE_TYPES = {"RoiAlign": 22, "MaxRoiPool": 22}
NO_ORACLE = {"GlobalLpPool"}  # ONNX Runtime wants version 2 of it, onnx's evaluator has none


def opsets_of(op_type: str) -> list[int]:
    """The opsets from 7 on that define an operator anew, and 7 itself if it is older."""
    found = {
        max(schema.since_version, OLDEST)
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.name == op_type and schema.domain == ""
    }
    deprecated = {
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.name == op_type and schema.domain == "" and schema.deprecated
    }
    return sorted(found - deprecated)


def cases_of(op_type: str, opset: int) -> list[Case]:
    return [case for case in CASES if case.op_type == op_type and case.since <= opset <= case.until]


# Not one node with arrays in and arrays out; each in all its forms in a test file of its own.
ELSEWHERE = {
    **dict.fromkeys(("If", "Loop"), "ops/test_control.py"),
    "Scan": "ops/test_scan.py",
    **dict.fromkeys(
        (
            *("ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty"),
            *("SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"),
            *("SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
        ),
        "ops/test_sequences.py",
    ),
    **dict.fromkeys(
        (
            *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
            *("RandomUniform", "RandomUniformLike"),
        ),
        "ops/test_random.py",
    ),
    **dict.fromkeys(
        ("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"), "ops/test_quantization.py"
    ),
}
OPERATORS = sorted(
    name for domain, name in supported_operators() if domain == "" and name not in ELSEWHERE
)


def test_those_with_tests_elsewhere_have_them() -> None:
    for op_type, path in ELSEWHERE.items():
        assert op_type in (Path(__file__).parent / path).read_text("utf-8"), op_type


@pytest.mark.parametrize("op_type", OPERATORS)
def test_an_operator_at_all_its_versions(op_type: str) -> None:
    for opset in opsets_of(op_type):
        cases = cases_of(op_type, opset)
        assert cases, f"no case of {op_type} at opset {opset}"
        for case in cases if op_type not in NO_ORACLE else ():
            try:
                compare(case, opset)
            except Exception as error:
                error.add_note(f"{op_type} at opset {opset} with {case.named}")
                raise


def compare(case: Case, opset: int) -> None:
    """With inputs that are fed, and with all but the first as initializers."""
    model, feeds = one_node(case.op_type, case.inputs, opset=opset, **case.named)
    expected = oracle(case.op_type, model, feeds)
    assert_same(run_imported(import_model(model), feeds), expected)
    later = [place for place, array in enumerate(case.inputs) if place and array is not None]
    model, feeds = one_node(case.op_type, case.inputs, opset=opset, constant=later, **case.named)
    assert_same(run_imported(import_model(model), feeds), expected)


def oracle(op_type: str, model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX Runtime, or what comes closest for an operator or version that it has not.

    1. A version that only allows more element types: the version before.
    2. An operator that it does not have at all, or in an opset that is too new for it: onnx's own
       evaluator.
    """
    opset = model.opset_import[0].version
    if op_type in ONLY_MORE_TYPES and opset == ONLY_MORE_TYPES[op_type]:
        model.opset_import[0].version -= 1
    if op_type not in REFERENCE_ONLY and opset <= NEWEST_OF_RUNTIME:
        return run_ort(model, feeds)
    return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feeds)]


def test_every_case_is_of_a_supported_operator() -> None:
    for case in CASES:
        assert find("", case.op_type, case.until) is not None, case.op_type
