import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.bridge.arrays import (
    array_from_tensor,
    dtype_of,
    tensor_from_array,
    tensor_from_proto,
)

KINDS = [
    *(np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_, ml_dtypes.bfloat16),
    *(ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2),
    *(ml_dtypes.float8_e5m2fnuz, ml_dtypes.float8_e8m0fnu),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_arrays_survive_bit_for_bit(kind: type, shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(0).standard_normal(shape) * 3).astype(kind)
    proto = numpy_helper.from_array(array, "w")
    found = array_from_tensor(tensor_from_proto(proto))
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


def test_nothing_is_shared_with_the_source() -> None:
    array = np.zeros(3, np.float32)
    tensor = tensor_from_array(array)
    copy = array_from_tensor(tensor)
    tensor.fill_(1)
    assert not array.any()
    assert not copy.any()


def test_types_that_torch_lacks_are_named() -> None:
    proto = onnx.TensorProto(name="text", data_type=TensorProto.STRING)
    proto.string_data.append(b"a")
    with pytest.raises(TypeError, match=r"initializer 'text' holds .*STRING"):
        tensor_from_proto(proto)


@pytest.mark.parametrize("name", ["INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1"])
def test_numbers_of_a_few_bits_are_unpacked(name: str) -> None:
    proto = helper.make_tensor("low", getattr(TensorProto, name), [3], [1, 0, 1])
    tensor = tensor_from_proto(proto)
    assert tensor.tolist() == [1, 0, 1]
    assert tensor.dtype == dtype_of(proto.data_type)
