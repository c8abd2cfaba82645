"""Versions, operators and attributes that do not exist or make no sense."""

import onnx
from onnx import helper

from tests.unit.service.admission import models as m
from tests.unit.service.admission.hostile.registry import Maker, add, case

# Versions.
for _version in (0, 2, 99):
    add(
        "model-ir-version",
        f"ir_{_version}",
        lambda v=_version: m.model(m.chain("Relu"), ir_version=v),
    )
for _version in (6, 0, -1, 999, 2**62):
    add(
        "model-opset",
        f"opset_{_version}",
        lambda v=_version: m.model(m.chain("Relu"), opsets=[("", v)]),
    )
add("model-opset", "opset_missing", lambda: m.model(m.chain("Relu"), opsets=[("f", 1)]))
add(
    "model-opset",
    "opset_twice",
    lambda: m.model(m.chain("Relu"), opsets=[("", 17), ("ai.onnx", 16)]),
)


# Operators.
@case("model-domain")
def _custom_domain() -> onnx.ModelProto:
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.acme", name="n")
    return m.model([node], opsets=[("", 17), ("com.acme", 1)])


@case("model-quantised")
def _integers_of_the_runtime() -> onnx.ModelProto:
    node = helper.make_node("QLinearAdd", ["x"] * 8, ["y"], domain="com.microsoft", name="n")
    return m.model([node], opsets=[("", 17), ("com.microsoft", 1)])


@case("model-domain")
def _ep_context() -> onnx.ModelProto:
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", name="n", ep_cache_context="../../secret"
    )
    return m.model([node], opsets=[("", 17), ("com.microsoft", 1)])


@case("model-domain")
def _python_operator() -> onnx.ModelProto:
    node = helper.make_node("PyOp", ["x"], ["y"], domain="pyopmulti_1", name="n", module="os")
    return m.model([node], opsets=[("", 17), ("pyopmulti_1", 1)])


add("model-unsupported-op", "unknown_operator", lambda: m.model(m.chain("Relu", "Foo")))
add("model-unsupported-op", "operator_too_new", lambda: m.model(m.chain("Mish"), opsets=[("", 17)]))
add(
    "model-unsupported-op",
    "operator_withdrawn",
    lambda: m.model(
        [helper.make_node("Upsample", ["x", "s"], ["y"])], initializers=[m.weight("s", 2)]
    ),
)


@case("model-quantised")
def _quantised() -> onnx.ModelProto:
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], name="q")
    return m.model([node], initializers=[m.weight("s")])


add(
    "model-shape-mismatch",
    "too_few_inputs",
    lambda: m.model([helper.make_node("Conv", ["x"], ["y"], name="c")]),
)
add(
    "model-shape-mismatch",
    "required_input_left_out",
    lambda: m.model([helper.make_node("Add", ["x", ""], ["y"], name="a")]),
)
add(
    "model-too-complex",
    "thousand_inputs",
    lambda: m.model([helper.make_node("Sum", ["x"] * 5000, ["y"], name="s")]),
)
add(
    "model-too-complex",
    "thousand_attributes",
    lambda: m.model([helper.make_node("Relu", ["x"], ["y"], **{f"a{i}": 1 for i in range(99)})]),
)


# Attributes.
def _conv(**attributes: object) -> Maker:
    def make() -> onnx.ModelProto:
        node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)
        return m.model(
            [node], inputs=[m.value("x", (1, 3, 8, 8))], initializers=[m.weight("w", 6, 3, 3, 3)]
        )

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
    add("model-attribute", _name, _conv(**_attributes))
add(
    "model-attribute",
    "axis_99",
    lambda: m.model([helper.make_node("Softmax", ["x"], ["y"], name="s", axis=99)]),
)
add(
    "model-attribute",
    "permutation_wrong",
    lambda: m.model([helper.make_node("Transpose", ["x"], ["y"], name="t", perm=[0, 5])]),
)
add(
    "model-attribute",
    "attribute_missing",
    lambda: m.model([helper.make_node("Cast", ["x"], ["y"], name="c")]),
)
add(
    "model-attribute",
    "blocksize_0",
    lambda: m.model(
        [helper.make_node("DepthToSpace", ["x"], ["y"], name="d", blocksize=0)],
        inputs=[m.value("x", (1, 4, 2, 2))],
    ),
)


@case("model-attribute")
def _attribute_twice() -> onnx.ModelProto:
    node = helper.make_node("Softmax", ["x"], ["y"], name="s", axis=1)
    node.attribute.append(helper.make_attribute("axis", 0))
    return m.model([node])


@case("model-attribute")
def _reference_outside_of_function() -> onnx.ModelProto:
    node = helper.make_node("Softmax", ["x"], ["y"], name="s", axis=1)
    node.attribute[0].ClearField("i")
    node.attribute[0].ref_attr_name = "axis"
    return m.model([node])


@case("model-attribute")
def _attribute_without_value() -> onnx.ModelProto:
    node = helper.make_node("Softmax", ["x"], ["y"], name="s", axis=1)
    node.attribute[0].ClearField("i")
    return m.model([node])
