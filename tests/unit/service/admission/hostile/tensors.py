"""Stored tensors and declared values that are not what they say."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.unit.service.admission import models as m
from tests.unit.service.admission.hostile.registry import Maker, add, case, edited, relu


# Tensors.
def _tensor(edit: Callable[[TensorProto], object]) -> Maker:
    return lambda: edited(lambda o: edit(o.graph.initializer[0]))


def _set_dims(*dims: int) -> Callable[[TensorProto], object]:
    def edit(tensor: TensorProto) -> None:
        tensor.ClearField("dims")
        tensor.dims.extend(dims)

    return edit


def _external(**entries: str) -> Callable[[TensorProto], object]:
    def edit(tensor: TensorProto) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in entries.items():
            tensor.external_data.add(key=key, value=text)

    return edit


for _name, _code, _edit in (
    ("bytes_short", "model-tensor-size", lambda t: setattr(t, "raw_data", t.raw_data[:-1])),
    ("bytes_long", "model-tensor-size", lambda t: setattr(t, "raw_data", t.raw_data + b"\0" * 4)),
    ("bytes_missing", "model-tensor-size", lambda t: t.ClearField("raw_data")),
    ("bytes_in_wrong_field", "model-tensor-size", lambda t: t.int64_data.append(1)),
    ("segment", "model-tensor-size", lambda t: setattr(t.segment, "begin", 1)),
    ("dim_negative", "model-dim-negative", _set_dims(-1, 3, 3, 3)),
    ("dims_overflow", "model-tensor-too-large", _set_dims(2**40, 2**40)),
    ("dims_overflow_to_zero", "model-tensor-too-large", _set_dims(2**62, 2**3, 0)),
    ("rank_100002", "model-rank", _set_dims(*[1] * 100_002)),
    ("type_99", "model-dtype", lambda t: setattr(t, "data_type", 99)),
    ("type_undefined", "model-dtype", lambda t: setattr(t, "data_type", 0)),
    ("type_string", "model-dtype", lambda t: setattr(t, "data_type", TensorProto.STRING)),
    ("type_complex", "model-dtype", lambda t: setattr(t, "data_type", TensorProto.COMPLEX64)),
    ("type_int4", "model-dtype", lambda t: setattr(t, "data_type", TensorProto.INT4)),
    ("external", "model-external-data", _external(location="weights.bin")),
    ("external_parent", "model-external-data", _external(location="../../etc/passwd")),
    ("external_absolute", "model-external-data", _external(location="/etc/passwd", offset="-1")),
    ("external_memory", "model-external-data", _external(location="*/_ORT_MEM_ADDR_/*")),
    ("external_class", "model-external-data", _external(__class__="os")),
):
    add(_code, _name, _tensor(_edit))


@case("model-external-data")
def _external_in_attribute() -> onnx.ModelProto:
    tensor = m.weight("w", 4)
    _external(location="/dev/zero", length=str(2**40))(tensor)
    return m.model(
        [
            helper.make_node("Constant", [], ["k"], value=tensor),
            helper.make_node("Add", ["x", "k"], ["y"]),
        ]
    )


@case("model-sparse-tensor")
def _sparse() -> onnx.ModelProto:
    sparse = onnx.SparseTensorProto(dims=[2**20, 2**18])
    sparse.values.CopyFrom(m.weight("w", 1))
    sparse.indices.CopyFrom(m.integers("i", 0))
    return edited(lambda o: o.graph.sparse_initializer.append(sparse))


@case("model-unsupported-op")
def _training_info() -> onnx.ModelProto:
    return edited(lambda o: o.training_info.add())


def _filled(value: float) -> Callable[[TensorProto], object]:
    def edit(tensor: TensorProto) -> None:
        array = np.full(list(tensor.dims), value, np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return edit


add("model-non-finite-weights", "weights_nan", _tensor(_filled(float("nan"))))
add("model-non-finite-weights", "weights_infinite", _tensor(_filled(float("inf"))))


@case("model-nothing-to-prune")
def _weights_all_zero() -> onnx.ModelProto:
    return edited(lambda o: [_filled(0.0)(tensor) for tensor in o.graph.initializer])


# Declared values.
@case("model-type")
def _sequence_input() -> onnx.ModelProto:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    return edited(lambda o: o.graph.input.append(helper.make_value_info("s", kind)))


@case("model-type")
def _optional_input() -> onnx.ModelProto:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    return edited(lambda o: o.graph.input.append(helper.make_value_info("s", kind)))


add(
    "model-type",
    "output_without_type",
    lambda: edited(lambda o: o.graph.output[0].ClearField("type")),
)
add(
    "model-dtype",
    "string_input",
    lambda: m.model([relu("x", "y")], inputs=[m.value("x", (1,), TensorProto.STRING)]),
)
add(
    "model-dtype",
    "input_type_undefined",
    lambda: m.model([relu("x", "y")], inputs=[m.value("x", (1,), 0)]),
)
add(
    "input-shape-required",
    "input_without_shape",
    lambda: m.model([relu("x", "y")], inputs=[m.value("x", None)]),
)
add(
    "model-tensor-too-large",
    "input_too_large",
    lambda: m.model([relu("x", "y")], inputs=[m.value("x", (2**20, 2**20))]),
)
add(
    "model-rank",
    "input_of_rank_9",
    lambda: m.model([relu("x", "y")], inputs=[m.value("x", (1,) * 9)]),
)
