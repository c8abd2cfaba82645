"""Sequences and optionals: ONNX's own node cases, and ONNX Runtime where it has them."""

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from optimizer.bridge.arrays import array_from_tensor, tensor_from_array
from optimizer.bridge.module import import_model
from optimizer.bridge.scopes import all_nodes
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, run_imported
from tests.unit.optimizer.bridge.ops.test_control import check, control_modules, gradients, model

OPERATORS = {
    "ConcatFromSequence",
    "If",
    "Loop",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "Scan",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
}


@cache
def _cases() -> dict[str, Any]:
    """Node cases with one of ``OPERATORS``, also in bodies and functions, whatever they return."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases()
    found = {}
    for case in collected:
        nodes = [*case.model.graph.node, *(n for f in case.model.functions for n in f.node)]
        if OPERATORS & {node.op_type for node in all_nodes(nodes)}:
            found[case.name] = case
    return found


def _to_torch(item: object) -> object:
    if item is None:
        return None
    if isinstance(item, list | tuple):
        return [_to_torch(each) for each in item]
    array = numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)
    return tensor_from_array(array)


def _assert_equal(found: object, expected: object) -> None:
    if isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_equal(one, other)
        return
    assert isinstance(found, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    assert found.dtype == expected.dtype
    if expected.dtype in (torch.float16, torch.bfloat16):
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
    else:
        assert_same([array_from_tensor(found)], [array_from_tensor(expected)])


def test_node_cases() -> None:
    assert len(_cases()) >= 60
    for name, case in _cases().items():
        try:
            module = import_model(case.model).module.eval()
            for inputs, outputs in case.data_sets:
                with torch.no_grad():
                    found = module(*(_to_torch(item) for item in inputs))
                results = found if isinstance(found, tuple) else (found,)
                assert len(results) == len(outputs)
                for result, output in zip(results, outputs, strict=True):
                    _assert_equal(result, _to_torch(output))
        except Exception as error:
            error.add_note(name)
            raise


KNOWN = """a = Constant <value_int = 1> () b = Constant <value_int = -1> ()
s = SequenceConstruct (x, z, x) t = SequenceInsert (s, z, a) u = SequenceErase (t, b)
v = SequenceErase (u) w = SequenceAt (v, b) k = SequenceLength (v)
e = SequenceEmpty () f = SequenceInsert (e, w) g = SequenceInsert (f, x)
y = ConcatFromSequence <axis = 1> (g) q = ConcatFromSequence <axis = 0, new_axis = 1> (v)"""


def test_a_known_sequence_leaves_no_trace() -> None:
    tested = model("float[N,4] x, float[N,4] z", "float[N,8] y, float[A,N,4] q, int64 k", KNOWN)
    imported = check(tested, {"x": floats(2, 4), "z": floats(2, 4, seed=1)})
    assert {
        node.target for node in imported.module.graph.nodes if node.op == "call_module"
    } == set()


LIST_OF_STEPS = """
e = SequenceEmpty ()
s = Loop <body: graph = b (int64 i, bool g, seq(float[N,4]) l) => (bool again, seq(float[N,4]) l2)
{ again = Identity (g) f = Cast <to = 1> (i) m = MatMul (x, w) h = Mul (m, f)
  l2 = SequenceInsert (l, h) }> (n, "", e)
k = SequenceLength (s)
y = ConcatFromSequence <axis = 1, new_axis = 1> (s)
"""


def test_a_list_that_a_loop_appends_to() -> None:
    """What scripted code makes of ``for ...: steps.append(...)`` and ``torch.stack(steps, 1)``."""
    tested = model(
        "float[N,4] x, int64 n", "float[N,T,4] y, int64 k", LIST_OF_STEPS, w=floats(4, 4)
    )
    feeds = [{"x": floats(2, 4), "n": np.array(count)} for count in (3, 1)]
    imported = check(tested, *feeds)
    assert control_modules(imported) == ["LoopModule"]
    assert set(gradients(imported, feeds[0])) == {"w"}


def test_a_list_of_known_length_is_written_out() -> None:
    tested = model(
        "float[N,4] x", "float[N,T,4] y, int64 k", LIST_OF_STEPS, w=floats(4, 4), n=np.array(3)
    )
    assert control_modules(check(tested, {"x": floats(2, 4)})) == []


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_split_of_an_axis_that_is_free(keepdims: int) -> None:
    new_axis = 1 - keepdims
    nodes = f"""s = SplitToSequence <axis = 0, keepdims = {keepdims}> (x) first = SequenceAt (s, i)
    r = SequenceErase (s, i) t = SequenceInsert (r, first)
    y = ConcatFromSequence <axis = 0, new_axis = {new_axis}> (t)"""
    tested = model("float[N,4] x, int64 i", "float[M,4] y", nodes)
    check(
        tested,
        {"x": floats(5, 4), "i": np.array(1)},
        {"x": floats(3, 4), "i": np.array(-2)},
    )


@pytest.mark.parametrize(
    ("size", "parts"), [(np.array(2, np.int64), 3), (np.array([1, 4], np.int64), 2)]
)
def test_a_split_into_parts(size: np.ndarray, parts: int) -> None:
    nodes = """s = SplitToSequence <axis = 1> (x, size) l = SequenceAt (s, last)
    k = SequenceLength (s) y = MatMul (x, w)"""
    tested = model(
        "float[N,5] x",
        "float[N,A] l, int64 k, float[N,2] y",
        nodes,
        size=size,
        last=np.array(-1),
        w=floats(5, 2),
    )
    (_, count, _) = run_imported(check(tested, {"x": floats(2, 5)}), {"x": floats(2, 5)})
    assert count == parts


def test_a_split_that_does_not_fit_is_refused() -> None:
    nodes = "s = SplitToSequence <axis = 1> (x, size) y = SequenceAt (s, last)"
    sizes = {"size": np.array([1, 3], np.int64), "last": np.array(-1)}
    with pytest.raises(UnsupportedOperatorsError, match="5 into parts of 4 together"):
        import_model(model("float[N,5] x", "float[N,A] y", nodes, **sizes))


def test_a_position_outside_is_refused_at_import_or_when_it_is_met() -> None:
    nodes = "s = SequenceConstruct (x, x) y = SequenceAt (s, i)"
    with pytest.raises(UnsupportedOperatorsError, match="position 2 lies outside"):
        import_model(model("float[N,5] x", "float[N,5] y", nodes, i=np.array(2)))
    imported = import_model(model("float[N,5] x, int64 i", "float[N,5] y", nodes))
    feeds = {"x": floats(2, 5), "i": np.array(-3)}
    with pytest.raises(IndexError, match="position -3 lies outside"):
        run_imported(imported, feeds)


def test_a_sequence_is_no_tensor() -> None:
    nodes = "s = SequenceConstruct (x, x) y = Relu (s)"
    with pytest.raises(UnsupportedOperatorsError, match=r"'Relu'.* reads a sequence"):
        import_model(model("float[N,5] x", "float[N,5] y", nodes))
    with pytest.raises(UnsupportedOperatorsError, match="has no sequence for input 0"):
        import_model(model("float[N,5] x", "float[N,5] y", "y = SequenceErase (x)"))


MAYBE = """o = If <then_branch: graph = t () => (optional(float[N,4]) t) { t = Optional (x) },
  else_branch: graph = e () => (optional(float[N,4]) e)
  { e = Optional <type: type_proto = float[N,4]> () }> (c)
h = OptionalHasElement (o)
y = If <then_branch: graph = a () => (float[N,4] a)
  { g = OptionalGetElement (o) a = MatMul (g, w) },
  else_branch: graph = b () => (float[N,4] b) { b = Neg (x) }> (h)"""


def _optional_model() -> onnx.ModelProto:
    return model("float[N,4] x, bool c", "float[N,4] y", MAYBE, opset=18, w=floats(4, 4))


def test_an_optional_that_an_if_makes() -> None:
    imported = import_model(_optional_model())
    x = floats(2, 4)
    for yes, expected in ((True, x @ floats(4, 4)), (False, -x)):
        assert_same(run_imported(imported, {"x": x, "c": np.array(yes)}), [expected])


def test_the_element_of_nothing_is_refused() -> None:
    nodes = "o = Optional <type: type_proto = float[N,4]> () y = OptionalGetElement (o)"
    with pytest.raises(UnsupportedOperatorsError, match="an optional that has none"):
        import_model(model("float[N,4] x", "float[N,4] y", nodes, opset=18))


MAP = """s = SplitToSequence <axis = 0, keepdims = 0> (x)
m, d = SequenceMap <body: graph = b (float[4] p, float[4] q) => (float[4] r, int64[1] t)
{ u = MatMul (p, w) r = Add (u, q) t = Shape (r) }> (s, z)
y = ConcatFromSequence <axis = 0, new_axis = 1> (m)"""


@pytest.mark.parametrize("rows", ["3", "N"])
def test_sequence_map(rows: str) -> None:
    tested = model(f"float[{rows},4] x, float[4] z", "float[M,4] y", MAP, w=floats(4, 4))
    feeds = {"x": floats(3, 4), "z": floats(4, seed=1)}
    imported = check(tested, feeds)
    assert set(gradients(imported, feeds)) == {"w"}
    kinds = {type(each).__name__ for each in imported.module.modules()}
    assert "SequenceMapModule" in kinds
