import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from optimizer.bridge.call import Call
from optimizer.bridge.registry import UnsupportedVariant
from optimizer.bridge.values import Value, constant_of
from optimizer.bridge.writer import Writer


def _call(node: onnx.NodeProto, *inputs: Value | None) -> Call:
    return Call(node, 17, inputs, Writer({"w": "w"}), lambda _: None)


def test_attributes_come_as_python_values() -> None:
    array = np.array([1, 2], np.float32)
    node = helper.make_node(
        "Any",
        [],
        ["y"],
        text="abc",
        many=["a", "b"],
        number=3,
        value=numpy_helper.from_array(array),
    )
    call = _call(node)
    assert call.attribute("text") == "abc"
    assert call.attribute("many") == ["a", "b"]
    assert call.attribute("number") == 3
    assert call.attribute("absent", 7) == 7
    assert call.attribute("value").tolist() == [1, 2]


def test_outputs_are_counted_up_to_the_last_named_one() -> None:
    assert _call(helper.make_node("Any", [], ["a", "", "c", ""])).num_outputs == 3
    assert _call(helper.make_node("Any", [], [])).num_outputs == 0


def test_inputs_that_are_left_out() -> None:
    call = _call(helper.make_node("Any", ["", "b"], ["y"]), None, constant_of(torch.ones(2)))
    assert not call.has(0)
    assert call.optional(0) is None
    assert len(call.tensors()) == 1
    with pytest.raises(UnsupportedVariant, match="lacks input 0"):
        call.value(0)
    with pytest.raises(UnsupportedVariant, match="lacks input 5"):
        call.value(5)


def test_numbers_that_must_be_known_at_import() -> None:
    constant = constant_of(torch.tensor([3, 4]), initializer="w")
    call = _call(helper.make_node("Any", ["a"], ["y"]), constant)
    assert call.fixed_list(0) == (3, 4)
    assert call.write.baked == {"w"}
    scalar = _call(helper.make_node("Any", ["a"], ["y"]), constant_of(torch.tensor(5)))
    assert scalar.fixed_list(0) == (5,)
    writer = Writer({})
    free = writer.input("x", torch.int64, ((2,), (2,)))
    late = Call(helper.make_node("Any", ["a"], ["y"]), 17, [free], writer, lambda _: None)
    with pytest.raises(UnsupportedVariant, match="computes its input 0 at run time"):
        late.fixed(0)


def test_what_is_not_known_is_refused() -> None:
    writer = Writer({})
    value = Value(dtype=None, node=writer.graph.placeholder("x"))
    call = Call(helper.make_node("Any", ["x"], ["y"]), 17, [value], writer, lambda _: None)
    with pytest.raises(UnsupportedVariant, match="rank of its input 0"):
        call.rank(0)
    with pytest.raises(UnsupportedVariant, match="type of its input 0"):
        call.dtype(0)
    with pytest.raises(UnsupportedVariant, match="with mode=2 is not covered"):
        Call(
            helper.make_node("Any", ["x"], ["y"], mode=2), 17, [value], writer, lambda _: None
        ).require("mode", 1, covered=1)


@pytest.mark.parametrize(
    ("constant", "rank", "is_number"),
    [
        (torch.tensor(2.0), None, True),
        (torch.tensor([2.0]), 1, True),
        (torch.tensor([2.0]), 0, False),
        (torch.tensor([2.0]), None, False),
        (torch.tensor([2.0, 3.0]), 3, False),
    ],
)
def test_a_single_constant_becomes_a_number_if_the_rank_allows(
    constant: torch.Tensor, rank: int | None, is_number: bool
) -> None:
    call = _call(helper.make_node("Any", ["a"], ["y"]), constant_of(constant, initializer="w"))
    found = call.operand(0, rank)
    assert isinstance(found, float) == is_number
    assert call.write.baked == ({"w"} if is_number else set())


def test_settle() -> None:
    call = _call(helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT))
    settled = call.settle((1, 2), torch.int32)
    assert settled.constant is not None
    assert settled.constant.dtype == torch.int32
    assert call.settle(settled) is settled
