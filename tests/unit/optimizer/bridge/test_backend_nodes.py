"""ONNX's own test cases of single nodes, as far as they have float outputs.

``test_nodes_of_an_operator`` runs them operator by operator; the last test adds up what is out of
reach and prints why.
"""

import warnings
from collections import Counter
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from graph_analysis.errors import ModelError
from optimizer.bridge.arrays import dtype_of
from optimizer.bridge.expansion import BY_BODY
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.registry import supported_operators
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import run_imported

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_LEFT_OUT = {
    "test_training_dropout": "random",
    "test_training_dropout_default": "random",
    "test_training_dropout_mask": "random",
    "test_training_dropout_default_mask": "random",
    **dict.fromkeys(
        (
            f"test_bernoulli{kind}{form}"
            for kind in ("", "_double", "_seed")
            for form in ("", "_expanded")
        ),
        "random",
    ),
    "test_resize_downsample_scales_linear_align_corners": "ONNX Runtime computes something else",
    "test_resize_downsample_scales_cubic_align_corners": "ONNX Runtime computes something else",
}


@cache
def _cases() -> dict[str, list[object]]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases()
    by_operator: dict[str, list[object]] = {}
    for case in collected:
        types = {info.type.tensor_type.elem_type for info in case.model.graph.output}
        if types & _FLOATS:
            by_operator.setdefault(_operator_of(case.name, case.model), []).append(case)
    return by_operator


def _operator_of(name: str, model: onnx.ModelProto) -> str:
    """Expanded cases are listed as the operator of their first node."""
    return model.graph.node[0].op_type if model.graph.node else name


def _reason_to_leave_out(case: object) -> str | None:
    if case.name in _LEFT_OUT:
        return _LEFT_OUT[case.name]
    inputs = {info.type.tensor_type.elem_type for info in case.model.graph.input}
    if not all(map(dtype_of, inputs)):
        return "torch has no such element type"
    return None


_imports: dict[str, ImportedModule | Exception] = {}


def _imported(case: object) -> ImportedModule:
    """Import a case once; both tests need it."""
    if case.name not in _imports:
        try:
            _imports[case.name] = import_model(case.model)
        except (UnsupportedOperatorsError, ModelError) as error:
            _imports[case.name] = error
    outcome = _imports[case.name]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _passes(case: object) -> None:
    inputs, expected = ([_array(item) for item in part] for part in case.data_sets[0])
    imported = _imported(case)
    found = run_imported(imported, dict(zip(imported.input_names, inputs, strict=True)))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        relative = 1e-3 if theirs.dtype in (np.float32, np.float64) else 1e-2
        with np.errstate(invalid="ignore"):  # a NaN of float8 may be a signalling one
            pair = ours.astype(np.float64), theirs.astype(np.float64)
        np.testing.assert_allclose(*pair, rtol=relative, atol=relative / 10)


def _array(item: object) -> np.ndarray:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)


@pytest.mark.parametrize("op_type", sorted(name for _, name in supported_operators() | BY_BODY))
def test_nodes_of_an_operator(op_type: str) -> None:
    for case in _cases().get(op_type, []):
        if _reason_to_leave_out(case) is None:
            try:
                _passes(case)
            except UnsupportedOperatorsError:
                continue  # an expanded case with another operator; counted below
            except Exception as error:
                error.add_note(case.name)
                raise


def test_what_is_out_of_reach() -> None:
    reasons: Counter[str] = Counter()
    total = 0
    for case in (case for cases in _cases().values() for case in cases):
        total += 1
        reason = _reason_to_leave_out(case)
        if reason is None:
            reason = _reason_not_imported(case)
        if reason is not None:
            reasons[reason] += 1
    passed = total - reasons.total()
    print(f"{passed} of {total} float node cases of onnx {onnx.__version__} are in reach")  # noqa: T201
    for reason, count in reasons.most_common():
        print(f"{count:4d} {reason}")  # noqa: T201
    assert reasons.total() < 0.02 * total


_DOMAINS = {
    "ai.onnx.ml": "classical models of ai.onnx.ml are no networks",
    "ai.onnx.preview.training": "steps of an optimizer are no networks",
}


def _reason_not_imported(case: object) -> str | None:
    domains = {node.domain for node in case.model.graph.node}
    if domains & _DOMAINS.keys():
        return _DOMAINS[(domains & _DOMAINS.keys()).pop()]
    try:
        _imported(case)
    except UnsupportedOperatorsError as error:
        return "; ".join(f"{item.op_type} {item.reason}" for item in error.operators[:1])
    except ModelError as error:
        return str(error)
    return None
