"""The hostile corpus: files that must be refused, each with its code; built when it is asked for."""

import struct
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.unit.service.admission import models as m

Maker = Callable[[], "bytes | onnx.ModelProto"]
CASES: dict[str, tuple[str, Maker]] = {}


def build(name: str) -> bytes:
    made = CASES[name][1]()
    return made if isinstance(made, bytes) else made.SerializeToString()


def _case(code: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        CASES[maker.__name__.strip("_")] = (code, maker)
        return maker

    return register


def _add(code: str, name: str, maker: Maker) -> None:
    assert name not in CASES
    CASES[name] = (code, maker)


def _edited(edit: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = m.classifier()
    edit(model)
    return model


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


# Files that are no model, or only the beginning of one.
_sound = m.classifier().SerializeToString()
for _name, _bytes in {
    "random": np.random.default_rng(1).bytes(4096),
    "zip": b"PK\x03\x04" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "pickle": b"\x80\x04\x95" + bytes(20),
    "html": b"<!DOCTYPE html><html><body>Log in</body></html>",
    "html_late": b"\n\n  <html>",
    "text": b"hello, this is not a model\n" * 10,
    "ort_format": struct.pack("<I", 24) + b"ORTM" + bytes(40),
    "tflite": struct.pack("<I", 24) + b"TFL3" + bytes(40),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "safetensors": struct.pack("<Q", 64) + b'{"a": {"dtype": "F32"}}' + bytes(60),
    "zeros": bytes(4096),
    "numpy": b"\x93NUMPY\x01\x00" + bytes(40),
    "wrong_wire_type": b"\x08\x08\x38\x05",
    "group_wire_type": b"\x08\x08\x3b\x3c",
    "endless_varint": b"\x08\x08" + b"\xff" * 12,
    "inner_length_too_long": b"\x08\x08" + _field(7, b"\x0a\x7f\x01"),
}.items():
    _add("model-not-onnx", _name, lambda data=_bytes: data)
for _name, _bytes in {
    "cut_in_half": _sound[: len(_sound) // 2],
    "cut_by_one": _sound[:-1],
    "cut_in_length": b"\x08\x0a\x3a\xff",
    "two_gigabyte_length": b"\x08\x0a\x3a\xff\xff\xff\xff\x07",
}.items():
    _add("model-truncated", _name, lambda data=_bytes: data)
_add("model-empty", "empty", lambda: b"")
_add("model-empty", "only_a_version", lambda: b"\x08\x0a")
_add("model-empty", "no_nodes", lambda: _edited(lambda o: o.graph.ClearField("node")))
_add("model-empty", "no_graph", lambda: _edited(lambda o: o.ClearField("graph")))
_add("model-no-io", "no_outputs", lambda: _edited(lambda o: o.graph.ClearField("output")))
_add("model-no-io", "no_inputs", lambda: _edited(lambda o: o.graph.ClearField("input")))


# Versions.
for _version in (0, 2, 99):
    _add("model-ir-version", f"ir_{_version}",
         lambda v=_version: m.model(m.chain("Relu"), ir_version=v))  # fmt: skip
for _version in (6, 0, -1, 999, 2**62):
    _add("model-opset", f"opset_{_version}",
         lambda v=_version: m.model(m.chain("Relu"), opsets=[("", v)]))  # fmt: skip
_add("model-opset", "opset_missing", lambda: m.model(m.chain("Relu"), opsets=[("f", 1)]))
_add("model-opset", "opset_twice",
     lambda: m.model(m.chain("Relu"), opsets=[("", 17), ("ai.onnx", 16)]))  # fmt: skip


# Operators.
@_case("model-domain")
def _custom_domain() -> onnx.ModelProto:
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft", name="n")
    return m.model([node], opsets=[("", 17), ("com.microsoft", 1)])


@_case("model-domain")
def _ep_context() -> onnx.ModelProto:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", name="n",
                            ep_cache_context="../../secret")  # fmt: skip
    return m.model([node], opsets=[("", 17), ("com.microsoft", 1)])


@_case("model-domain")
def _python_operator() -> onnx.ModelProto:
    node = helper.make_node("PyOp", ["x"], ["y"], domain="pyopmulti_1", name="n", module="os")
    return m.model([node], opsets=[("", 17), ("pyopmulti_1", 1)])


_add("model-unsupported-op", "unknown_operator", lambda: m.model(m.chain("Relu", "Foo")))
_add("model-unsupported-op", "operator_too_new",
     lambda: m.model(m.chain("Mish"), opsets=[("", 17)]))  # fmt: skip
_add("model-unsupported-op", "operator_withdrawn",
     lambda: m.model([helper.make_node("Upsample", ["x", "s"], ["y"])],
                     initializers=[m.weight("s", 2)]))  # fmt: skip


@_case("model-quantised")
def _quantised() -> onnx.ModelProto:
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], name="q")
    return m.model([node], initializers=[m.weight("s")])


_add("model-shape-mismatch", "too_few_inputs",
     lambda: m.model([helper.make_node("Conv", ["x"], ["y"], name="c")]))  # fmt: skip
_add("model-shape-mismatch", "required_input_left_out",
     lambda: m.model([helper.make_node("Add", ["x", ""], ["y"], name="a")]))  # fmt: skip
_add("model-too-complex", "thousand_inputs",
     lambda: m.model([helper.make_node("Sum", ["x"] * 5000, ["y"], name="s")]))  # fmt: skip
_add("model-too-complex", "thousand_attributes",
     lambda: m.model([helper.make_node("Relu", ["x"], ["y"], **{f"a{i}": 1 for i in range(99)})]))  # fmt: skip


# Attributes.
def _conv(**attributes: object) -> Maker:
    def make() -> onnx.ModelProto:
        node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)
        return m.model([node], inputs=[m.value("x", (1, 3, 8, 8))],
                       initializers=[m.weight("w", 6, 3, 3, 3)])  # fmt: skip

    return make


for _name, _attributes in {
    "stride_0": {"strides": [0, 1]},
    "stride_negative": {"strides": [-1, 1]},
    "stride_huge": {"strides": [2**40, 1]},
    "dilation_0": {"dilations": [0, 0]},
    "kernel_0": {"kernel_shape": [0, 3]},
    "pads_huge": {"pads": [2**36, 0, 0, 0]},
    "pads_negative": {"pads": [-(2**36), 0, 0, 0]},
    "group_0": {"group": 0},
    "group_negative": {"group": -1},
    "attribute_unknown": {"colour": 3},
    "attribute_of_wrong_type": {"group": 1.5},
}.items():
    _add("model-attribute", _name, _conv(**_attributes))
_add("model-attribute", "axis_99",
     lambda: m.model([helper.make_node("Softmax", ["x"], ["y"], name="s", axis=99)]))  # fmt: skip
_add("model-attribute", "permutation_wrong",
     lambda: m.model([helper.make_node("Transpose", ["x"], ["y"], name="t", perm=[0, 5])]))  # fmt: skip
_add("model-attribute", "attribute_missing",
     lambda: m.model([helper.make_node("Cast", ["x"], ["y"], name="c")]))  # fmt: skip
_add("model-attribute", "blocksize_0",
     lambda: m.model([helper.make_node("DepthToSpace", ["x"], ["y"], name="d", blocksize=0)],
                     inputs=[m.value("x", (1, 4, 2, 2))]))  # fmt: skip


@_case("model-attribute")
def _attribute_twice() -> onnx.ModelProto:
    node = helper.make_node("Softmax", ["x"], ["y"], name="s", axis=1)
    node.attribute.append(helper.make_attribute("axis", 0))
    return m.model([node])


@_case("model-attribute")
def _reference_outside_of_function() -> onnx.ModelProto:
    node = helper.make_node("Softmax", ["x"], ["y"], name="s", axis=1)
    node.attribute[0].ClearField("i")
    node.attribute[0].ref_attr_name = "axis"
    return m.model([node])


@_case("model-attribute")
def _attribute_without_value() -> onnx.ModelProto:
    node = helper.make_node("Softmax", ["x"], ["y"], name="s", axis=1)
    node.attribute[0].ClearField("i")
    return m.model([node])


# Structure.
def _relu(source: str, target: str, name: str = "n") -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [target], name=name)


_add("model-not-sorted", "unsorted", lambda: m.model([_relu("h", "y"), _relu("x", "h")]))
_add("model-not-sorted", "cycle",
     lambda: m.model([helper.make_node("Add", ["x", "g"], ["h"]), _relu("h", "g"), _relu("h", "y")]))  # fmt: skip
_add("model-not-sorted", "self_loop",
     lambda: m.model([helper.make_node("Add", ["x", "y"], ["y"], name="a")]))  # fmt: skip
_add("model-not-sorted", "input_from_nowhere", lambda: m.model([_relu("nowhere", "y")]))
_add("model-duplicate-name", "output_twice", lambda: m.model([_relu("x", "y"), _relu("x", "y")]))
_add("model-duplicate-name", "output_is_input",
     lambda: m.model([_relu("x", "x"), _relu("x", "y")]))  # fmt: skip
_add("model-duplicate-name", "initializer_twice",
     lambda: _edited(lambda o: o.graph.initializer.append(o.graph.initializer[0])))  # fmt: skip
_add("model-duplicate-name", "input_twice",
     lambda: _edited(lambda o: o.graph.input.append(o.graph.input[0])))  # fmt: skip
_add("model-duplicate-name", "graph_output_twice",
     lambda: _edited(lambda o: o.graph.output.append(o.graph.output[0])))  # fmt: skip
_add("model-output-missing", "output_not_produced",
     lambda: m.model([_relu("x", "h")]))  # fmt: skip
_add("model-missing-output", "split_output_without_name",
     lambda: m.model([helper.make_node("Split", ["x"], ["", "y"], name="s", axis=1)],
                     opsets=[("", 13)]))  # fmt: skip
_add("model-missing-output", "first_output_without_name",
     lambda: m.model([helper.make_node("Dropout", ["x"], ["", "y"], name="d")]))  # fmt: skip
_add("model-missing-output", "lstm_without_outputs",
     lambda: m.model([helper.make_node("LSTM", ["x", "w", "w"], ["", ""], name="l", hidden_size=1),
                      _relu("x", "y")], initializers=[m.weight("w", 1, 4, 4)]))  # fmt: skip


# Tensors.
def _tensor(edit: Callable[[TensorProto], object]) -> Maker:
    return lambda: _edited(lambda o: edit(o.graph.initializer[0]))


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
    _add(_code, _name, _tensor(_edit))


@_case("model-external-data")
def _external_in_attribute() -> onnx.ModelProto:
    tensor = m.weight("w", 4)
    _external(location="/dev/zero", length=str(2**40))(tensor)
    return m.model([helper.make_node("Constant", [], ["k"], value=tensor),
                    helper.make_node("Add", ["x", "k"], ["y"])])  # fmt: skip


@_case("model-sparse-tensor")
def _sparse() -> onnx.ModelProto:
    sparse = onnx.SparseTensorProto(dims=[2**20, 2**18])
    sparse.values.CopyFrom(m.weight("w", 1))
    sparse.indices.CopyFrom(m.integers("i", 0))
    return _edited(lambda o: o.graph.sparse_initializer.append(sparse))


@_case("model-unsupported-op")
def _training_info() -> onnx.ModelProto:
    return _edited(lambda o: o.training_info.add())


def _filled(value: float) -> Callable[[TensorProto], object]:
    def edit(tensor: TensorProto) -> None:
        array = np.full(list(tensor.dims), value, np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return edit


_add("model-non-finite-weights", "weights_nan", _tensor(_filled(float("nan"))))
_add("model-non-finite-weights", "weights_infinite", _tensor(_filled(float("inf"))))


@_case("model-nothing-to-prune")
def _weights_all_zero() -> onnx.ModelProto:
    return _edited(lambda o: [_filled(0.0)(tensor) for tensor in o.graph.initializer])


# Declared values.
@_case("model-type")
def _sequence_input() -> onnx.ModelProto:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    return _edited(lambda o: o.graph.input.append(helper.make_value_info("s", kind)))


@_case("model-type")
def _optional_input() -> onnx.ModelProto:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    return _edited(lambda o: o.graph.input.append(helper.make_value_info("s", kind)))


_add("model-type", "output_without_type",
     lambda: _edited(lambda o: o.graph.output[0].ClearField("type")))  # fmt: skip
_add("model-dtype", "string_input",
     lambda: m.model([_relu("x", "y")], inputs=[m.value("x", (1,), TensorProto.STRING)]))  # fmt: skip
_add("model-dtype", "input_type_undefined",
     lambda: m.model([_relu("x", "y")], inputs=[m.value("x", (1,), 0)]))  # fmt: skip
_add("input-shape-required", "input_without_shape",
     lambda: m.model([_relu("x", "y")], inputs=[m.value("x", None)]))  # fmt: skip
_add("model-tensor-too-large", "input_too_large",
     lambda: m.model([_relu("x", "y")], inputs=[m.value("x", (2**20, 2**20))]))  # fmt: skip
_add("model-rank", "input_of_rank_9",
     lambda: m.model([_relu("x", "y")], inputs=[m.value("x", (1,) * 9)]))  # fmt: skip


# Names.
_add("model-name-too-long", "node_name_of_a_megabyte",
     lambda: m.model([_relu("x", "y", name="n" * 10**6)]))  # fmt: skip
_add("model-bad-name", "node_name_with_newlines",
     lambda: m.model([_relu("x", "y", name="ok\n2026 INFO forged log line")]))  # fmt: skip
_add("model-bad-name", "tensor_name_with_escape",
     lambda: m.model([_relu("x", "\x1b[2J"), _relu("\x1b[2J", "y")]))  # fmt: skip
_add("model-bad-name", "name_turns_text_around",
     lambda: m.model([_relu("x", "y", name="\u202egnp.exe")]))  # fmt: skip
_add("model-bad-name", "operator_with_nul", lambda: m.model(m.chain("Re\x00lu")))
_add("model-too-complex", "metadata_of_a_megabyte",
     lambda: _edited(lambda o: o.metadata_props.add(key="k", value="v" * 10**6)))  # fmt: skip


# Local functions.
def _doubling(depth: int) -> Maker:
    def make() -> onnx.ModelProto:
        functions = [m.function(f"f{i}", [f"f{i + 1}"] * 2) for i in range(depth)]
        return m.calling(*functions, m.function(f"f{depth}", []), callee="f0")

    return make


for _depth in (16, 20, 40):
    _add("model-functions", f"functions_doubling_{_depth}", _doubling(_depth))
_add("model-functions", "function_recursive",
     lambda: m.calling(m.function("f0", ["f0"]), callee="f0"))  # fmt: skip
_add("model-functions", "functions_mutual",
     lambda: m.calling(m.function("f0", ["f1"]), m.function("f1", ["f0"]), callee="f0"))  # fmt: skip
_add("model-functions", "functions_recursive_unused",
     lambda: m.calling(m.function("f0", []), m.function("f1", ["f1"]), callee="f0"))  # fmt: skip
_add("model-functions", "functions_chain_3000",
     lambda: m.calling(*[m.function(f"f{i}", [f"f{i + 1}"]) for i in range(3000)],
                       m.function("f3000", []), callee="f0"))  # fmt: skip
_add("model-functions", "function_undefined",
     lambda: m.calling(m.function("f0", []), callee="g"))  # fmt: skip
_add("model-duplicate-name", "function_twice",
     lambda: m.calling(m.function("f0", []), m.function("f0", []), callee="f0"))  # fmt: skip
_add("model-opset", "function_opset_999",
     lambda: m.calling(m.function("f0", [], opset=999), callee="f0"))  # fmt: skip
_add("model-unsupported-op", "function_with_unknown_operator",
     lambda: m.calling(m.function("f0", [], op_type="Foo"), callee="f0"))  # fmt: skip


@_case("model-functions")
def _function_in_default_domain() -> onnx.ModelProto:
    made = m.calling(m.function("f0", []), callee="f0")
    made.functions[0].domain = ""
    made.graph.node[0].domain = ""
    return made


# Bodies.
def _nested(depth: int) -> Maker:
    def make() -> onnx.ModelProto:
        body = m.if_body("b", _relu("x", f"o{depth}"), output=f"o{depth}")
        for level in reversed(range(depth)):
            inner = helper.make_node("If", ["c"], [f"o{level}"], then_branch=body, else_branch=body)
            body = m.if_body("b", inner, output=f"o{level}")
            if level < depth - 3:  # both branches below would double the file each time
                inner.attribute[1].g.CopyFrom(m.if_body("e", _relu("x", "e"), output="e"))
                body.node[0].CopyFrom(inner)
        return m.branching(body, m.if_body("e", _relu("x", "e"), output="e"))

    return make


_add("model-too-deep", "if_nested_20", _nested(20))
_add("model-subgraph", "if_without_else",
     lambda: m.branching(m.if_body("t", _relu("x", "a"), output="a"), None))  # fmt: skip
_add("model-duplicate-name", "body_redefines_outer_name",
     lambda: m.branching(m.if_body("t", _relu("c", "x"), output="x"),
                         m.if_body("e", _relu("x", "b"), output="b")))  # fmt: skip
_add("model-not-sorted", "body_uses_later_name",
     lambda: m.branching(m.if_body("t", _relu("y", "a"), output="a"),
                         m.if_body("e", _relu("x", "b"), output="b")))  # fmt: skip
_add("model-output-missing", "body_output_not_produced",
     lambda: m.branching(m.if_body("t", _relu("x", "a"), output="zzz"),
                         m.if_body("e", _relu("x", "b"), output="b")))  # fmt: skip
_add("model-unsupported-op", "body_with_unknown_operator",
     lambda: m.branching(m.if_body("t", helper.make_node("Foo", ["x"], ["a"]), output="a"),
                         m.if_body("e", _relu("x", "b"), output="b")))  # fmt: skip
_add("model-subgraph", "loop_body_with_too_few_outputs",
     lambda: m.looping([_relu("s", "t")], body_outputs=1))  # fmt: skip
_add("model-subgraph", "loop_body_with_too_few_inputs",
     lambda: m.looping([_relu("x", "t")], body_inputs=2))  # fmt: skip
_add("model-subgraph", "scan_without_inputs",
     lambda: m.model([helper.make_node("Scan", ["x"], ["y"], name="scan", num_scan_inputs=0,
                                       body=m.if_body("b", _relu("x", "a"), output="a"))]))  # fmt: skip
_add("model-subgraph", "body_of_a_relu",
     lambda: m.model([helper.make_node("Relu", ["x"], ["y"], name="r",
                                       body=m.if_body("b", _relu("x", "a"), output="a"))]))  # fmt: skip


@_case("model-subgraph")
def _loop_with_large_body() -> onnx.ModelProto:
    return m.looping(m.chain(*["Relu"] * 20_001, source="s", target="t"))


# Native crashers: caught by the rules before native code sees them, plain and inside a body.
def _slicing(target: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Slice", ["x", "k", "k"], [target], name="slice")]


@_case("model-dim-negative")
def _slice_of_negative_dim() -> onnx.ModelProto:
    return m.model(_slicing("y"), inputs=[m.value("x", (-1,))], initializers=[m.integers("k", 0)])


@_case("model-dim-negative")
def _slice_of_negative_dim_in_body() -> onnx.ModelProto:
    made = m.branching(m.if_body("t", *_slicing("a"), output="a"),
                       m.if_body("e", _relu("x", "b"), output="b"))  # fmt: skip
    made.graph.initializer.append(m.integers("k", 0))
    made.graph.node[0].attribute[0].g.value_info.append(m.value("a", (-1,)))
    return made


@_case("model-missing-output")
def _split_without_name_in_body() -> onnx.ModelProto:
    split = helper.make_node("Split", ["x"], ["", "a"], name="s", axis=1, num_outputs=2)
    made = m.branching(m.if_body("t", split, output="a"),
                       m.if_body("e", _relu("x", "b"), output="b"))  # fmt: skip
    made.opset_import[0].version = 18
    return made


# Bombs: small files that expand.
_add("model-too-complex", "nodes_20001", lambda: m.model(m.chain(*["Relu"] * 20_001)))
_add("model-too-complex", "empty_nodes_a_megabyte",
     lambda: b"\x08\x0a" + _field(7, b"\x0a\x00" * 500_000))  # fmt: skip
_add("model-too-complex", "varints_two_megabytes",
     lambda: b"\x08\x0a" + _field(7, _field(5, _field(7, b"\x01" * 2_000_000))))  # fmt: skip


@_case("model-activation-too-large")
def _expand_bomb() -> onnx.ModelProto:
    return m.model([helper.make_node("Expand", ["x", "k"], ["y"], name="e")],
                   inputs=[m.value("x", (1, 1))], initializers=[m.integers("k", 2**17, 2**17)])  # fmt: skip


@_case("model-activation-too-large")
def _constant_bomb() -> onnx.ModelProto:
    return m.model([helper.make_node("ConstantOfShape", ["k"], ["h"], name="k"),
                    helper.make_node("Add", ["h", "x"], ["y"], name="a")],
                   initializers=[m.integers("k", 2**40, 1)])  # fmt: skip


@_case("model-activation-too-large")
def _pad_bomb() -> onnx.ModelProto:
    return m.model([helper.make_node("Pad", ["x", "k"], ["y"], name="p")],
                   inputs=[m.value("x", (1, 1))], initializers=[m.integers("k", 0, 0, 0, 2**36)])  # fmt: skip


@_case("model-activation-too-large")
def _concat_doubling() -> onnx.ModelProto:
    nodes = [helper.make_node("Concat", [f"h{i}", f"h{i}"], [f"h{i + 1}"], axis=1)
             for i in range(40)]  # fmt: skip
    return m.model([_relu("x", "h0"), *nodes, _relu("h40", "y")], inputs=[m.value("x", (1, 4))])


@_case("model-activation-too-large")
def _many_large_matmuls() -> onnx.ModelProto:
    nodes = [helper.make_node("ConstantOfShape", ["k"], ["h0"])]
    nodes += [helper.make_node("MatMul", ["h0", f"h{i}"], [f"h{i + 1}"]) for i in range(30)]
    return m.model([*nodes, helper.make_node("Add", ["h30", "x"], ["y"])],
                   inputs=[m.value("x", (1,))], initializers=[m.integers("k", 12_000, 12_000)])  # fmt: skip


@_case("model-activation-too-large")
def _expand_bomb_in_body() -> onnx.ModelProto:
    bomb = helper.make_node("Expand", ["x", "k"], ["a"], name="e")
    other = helper.make_node("Expand", ["x", "k"], ["b"], name="f")
    made = m.branching(m.if_body("t", bomb, output="a"), m.if_body("e", other, output="b"))
    made.graph.input[1].CopyFrom(m.value("x", (1, 1)))
    for attribute in made.graph.node[0].attribute:
        attribute.g.initializer.append(m.integers("k", 2**17, 2**17))
    return made


@_case("model-shape-mismatch")
def _matmul_does_not_fit() -> onnx.ModelProto:
    return m.model([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
                   inputs=[m.value("x", (4, 5))], initializers=[m.weight("w", 6, 7)])  # fmt: skip


@_case("model-shape-mismatch")
def _types_do_not_fit() -> onnx.ModelProto:
    return m.model([helper.make_node("Add", ["x", "k"], ["y"], name="sum")],
                   initializers=[m.integers("k", 1, 2, 3, 4)])  # fmt: skip


@_case("model-rank")
def _rank_grows_inside() -> onnx.ModelProto:
    axes = m.integers("axes", *range(7))
    return m.model([helper.make_node("Unsqueeze", ["x", "axes"], ["y"], name="u")],
                   initializers=[axes])  # fmt: skip
