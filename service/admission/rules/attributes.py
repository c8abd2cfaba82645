"""Rules about attributes: known, of the right type, and with values that make sense.

Native code divides by strides and allocates by kernel sizes, so impossible values stop here.
"""

from collections import Counter
from typing import Any, NoReturn

import onnx

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, Place, all_places, called_function, described
from service.admission.rules.operators import find_runtime_operator, find_schema
from service.admission.rules.runtime_operators import RuntimeOperator

_POSITIVE_LISTS = frozenset({"strides", "dilations", "kernel_shape"})
_POSITIVE_NUMBERS = frozenset({"group", "blocksize", "hidden_size", "num_groups"})
_HEADS = frozenset({"num_heads", "kv_num_heads"})
_PADS = frozenset({"pads", "output_padding"})
_BOUND = 2**20
_TYPE = onnx.AttributeProto


def check_attributes(context: Context) -> None:
    """Check every attribute of every node.

    Raises:
        AdmissionError: ``model-attribute``.
    """
    for place in all_places(context.model):
        for node in place.nodes:
            _check_unique(node)
            for attribute in node.attribute:
                _check_reference(node, attribute, place)
            if called_function(node) not in context.functions:
                _check_against_schema(node, place)
                for attribute in node.attribute:
                    _check_values(node, attribute)


def _check_unique(node: onnx.NodeProto) -> None:
    for name, count in Counter(attribute.name for attribute in node.attribute).items():
        if count > 1:
            _refuse(node, name, f"is given {count} times")


def _check_reference(node: onnx.NodeProto, attribute: onnx.AttributeProto, place: Place) -> None:
    if attribute.ref_attr_name and not place.is_function:
        _refuse(node, attribute.name, "refers to a function's parameter outside of a function")


def _check_against_schema(node: onnx.NodeProto, place: Place) -> None:
    """Unknown attributes, wrong types, missing required ones."""
    schema = find_schema(node, place)
    if schema is None:
        runtime = find_runtime_operator(node, place)
        if runtime is not None:  # else reported by the rule on operators
            _check_against_runtime(node, runtime)
        return
    known = schema.attributes
    for attribute in node.attribute:
        if attribute.name not in known:
            _refuse(node, attribute.name, "is not an attribute of this operator")
        wanted = _wanted_type(known[attribute.name])
        if _type_of(attribute) != wanted:
            _refuse(node, attribute.name, "has the wrong type")
    given = {attribute.name for attribute in node.attribute}
    for name, definition in known.items():
        if definition.required and name not in given:
            _refuse(node, name, "is missing")


def _check_against_runtime(node: onnx.NodeProto, definition: RuntimeOperator) -> None:
    """The same for an operator of ONNX Runtime."""
    for attribute in node.attribute:
        if attribute.name not in definition.attributes:
            _refuse(node, attribute.name, "is not an attribute of this operator")
        if _type_of(attribute) != definition.attributes[attribute.name]:
            _refuse(node, attribute.name, "has the wrong type")
        if attribute.name in definition.required & _HEADS and not 0 < attribute.i < 2**31:
            _refuse(node, attribute.name, f"must be a positive number, not {attribute.i}")
    for name in sorted(definition.required - {attribute.name for attribute in node.attribute}):
        _refuse(node, name, "is missing")


def _wanted_type(definition: Any) -> int:
    """The type that an operator's definition asks for (the library's hints lack ``value``)."""
    return int(definition.type.value)


def _type_of(attribute: onnx.AttributeProto) -> int:
    """The declared type, if the value that belongs to it is there; 0 if not."""
    field = {_TYPE.FLOAT: "f", _TYPE.INT: "i", _TYPE.STRING: "s", _TYPE.TENSOR: "t",
             _TYPE.GRAPH: "g", _TYPE.TYPE_PROTO: "tp"}.get(attribute.type)  # fmt: skip
    if field is not None and not attribute.ref_attr_name and not attribute.HasField(field):
        return 0
    return int(attribute.type)


def _check_values(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    name = attribute.name
    if name in _POSITIVE_LISTS and not all(0 < value < _BOUND for value in attribute.ints):
        _refuse(node, name, f"must hold numbers from 1 to {_BOUND - 1}")
    if name in _POSITIVE_NUMBERS and not attribute.ref_attr_name and not 0 < attribute.i < 2**31:
        _refuse(node, name, f"must be a positive number, not {attribute.i}")
    if name in _PADS and not all(-_BOUND < value < _BOUND for value in attribute.ints):
        _refuse(node, name, f"must hold numbers below {_BOUND}")


def _refuse(node: onnx.NodeProto, name: str, fault: str) -> NoReturn:
    where = described(node)
    message = f"attribute {shown(name)} of {where} {fault}; export the model again"
    refuse("model-attribute", message, param=node.name or node.op_type)
