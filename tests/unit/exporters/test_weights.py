"""Initializers byte for byte, in every element type."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import weights
from exporters.errors import SurgeryError

FLOATS = [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16]
SMALL = [TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2, TensorProto.INT4, TensorProto.UINT4]


@pytest.mark.parametrize("data_type", [*FLOATS, *SMALL, TensorProto.INT64, TensorProto.BOOL])
@pytest.mark.parametrize("raw", [True, False])
def test_take_keeps_type_name_and_values(data_type: int, raw: bool) -> None:
    numbers = np.asarray([[0, 1, 1], [1, 0, 1], [0, 0, 1]])
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    if raw:
        tensor = numpy_helper.from_array(numbers.astype(dtype), "w")
    else:
        tensor = helper.make_tensor("w", data_type, numbers.shape, numbers.ravel().tolist())
    tensor.doc_string = "doc"

    result = weights.take(tensor, {0: np.asarray([0, 2]), 1: np.asarray([1, 2])})

    assert (result.name, result.doc_string, result.data_type) == ("w", "doc", data_type)
    assert numpy_helper.to_array(result).astype(int).tolist() == [[1, 1], [0, 1]]
    onnx.checker.check_tensor(result)


def test_strings_can_be_cut_too() -> None:
    tensor = helper.make_tensor("s", TensorProto.STRING, [3], ["a", "b", "c"])
    assert list(weights.take(tensor, {0: np.asarray([0, 2])}).string_data) == [b"a", b"c"]


def test_not_a_number_survives_bit_by_bit() -> None:
    bits = np.asarray([0x7FC01234, 0x3F800000], np.uint32)
    tensor = numpy_helper.from_array(bits.view(np.float32), "nan")
    assert weights.take(tensor, {0: np.asarray([0])}).raw_data == bits[:1].tobytes()


@pytest.mark.parametrize(
    "keep, message",
    [
        ({2: [0]}, "no axis 2"),
        ({0: []}, "keep nothing along axis 0"),
        ({0: [1, 0]}, "not ascending"),
        ({0: [0, 0]}, "not ascending"),
        ({0: [0, 3]}, "not ascending inside"),
        ({0: [-1, 0]}, "not ascending inside"),
    ],
)
def test_positions_that_do_not_exist_are_refused(keep: dict[int, list[int]], message: str) -> None:
    tensor = numpy_helper.from_array(np.zeros((3, 2), np.float32), "w")
    indices = {axis: np.asarray(i, np.int64) for axis, i in keep.items()}
    with pytest.raises(SurgeryError, match=message):
        weights.take(tensor, indices)


def test_zeroed_touches_nothing_else_and_not_the_original() -> None:
    tensor = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    result = weights.zeroed(tensor, [(0, [1]), (1, [0])])
    assert numpy_helper.to_array(result).tolist() == [[0, 1], [0, 0], [0, 1]]
    assert numpy_helper.to_array(tensor).sum() == 6


def test_data_outside_the_file_is_not_guessed() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    with pytest.raises(SurgeryError, match="'w' keeps its data outside the file"):
        weights.to_array(tensor)


def test_copy_without_leaves_out_what_is_named_and_nothing_else() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.zeros(2), "w")],
    )
    model = helper.make_model(graph, producer_name="p")
    copy = weights.copy_without(model, "initializer")
    assert not copy.graph.initializer
    copy.graph.initializer.extend(model.graph.initializer)
    assert copy == model
