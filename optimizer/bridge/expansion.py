"""Operators that ONNX itself defines by others: nodes without a translator become their bodies.

A node is replaced if everything in its body has a translator; else it stays, so that an error names
the operator that the file has. A body counts as what the node was: its nodes keep the node's name,
and its constants are none of the model's weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto

from optimizer.bridge.registry import find
from optimizer.bridge.scopes import all_nodes

BY_BODY = frozenset({("ai.onnx.preview", "FlexAttention")})  # imported in this way only
BODY_DOC = "secateur: part of a body"  # doc string of the nodes that come out of a body
_DEPTH = 4  # bodies within bodies

Opsets = Mapping[str, int]


def with_bodies(model: ModelProto) -> ModelProto:
    """Return the model with such nodes replaced; the model itself if there is none."""
    opsets = {_standard(item.domain): item.version for item in model.opset_import}
    for _ in range(_DEPTH):
        if not any(_is_candidate(node, opsets) for node in model.graph.node):
            return model
        types = _types(model)
        nodes = [_body_of(node, opsets, types) or [node] for node in model.graph.node]
        if all(len(part) == 1 and part[0] is node for part, node in _pairs(nodes, model)):
            return model
        expanded = ModelProto()
        expanded.CopyFrom(model)
        del expanded.graph.node[:]
        expanded.graph.node.extend(node for part in nodes for node in part)
        model = expanded
    return model


def _pairs(
    nodes: Sequence[Sequence[NodeProto]], model: ModelProto
) -> Iterable[tuple[Sequence[NodeProto], NodeProto]]:
    return zip(nodes, model.graph.node, strict=True)


def _standard(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _is_candidate(node: NodeProto, opsets: Opsets) -> bool:
    domain = _standard(node.domain)
    version = opsets.get(domain, 1)
    return find(domain, node.op_type, version) is None and _schema(node, opsets) is not None


def _schema(node: NodeProto, opsets: Opsets) -> Any:
    """Return what ONNX says about a node's operator if that includes a body, else ``None``."""
    domain = _standard(node.domain)
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return None
    return schema if schema.has_function or schema.has_context_dependent_function else None


def _types(model: ModelProto) -> dict[str, TypeProto]:
    """Types of all values, as far as inference finds them; a body may depend on its inputs'."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = model.graph
    found = {info.name: info.type for info in (*graph.value_info, *graph.input)}
    for proto in graph.initializer:
        found[proto.name] = onnx.helper.make_tensor_type_proto(proto.data_type, proto.dims)
    return found


def _body_of(
    node: NodeProto, opsets: Opsets, types: Mapping[str, TypeProto]
) -> list[NodeProto] | None:
    """Return the nodes of a node's body under names of their own, ``None`` if it has to stay."""
    schema = _schema(node, opsets) if _is_candidate(node, opsets) else None
    if schema is None:
        return None
    function = _function(node, schema, opsets, types)
    if function is None or not _is_covered(function, opsets):
        return None
    given = {attribute.name: attribute for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            given[name] = attribute.default_value
    names = dict.fromkeys(function.input, "") | dict(zip(function.input, node.input, strict=False))
    outputs = zip(function.output, node.output, strict=False)
    names |= {inner: outer for inner, outer in outputs if outer} | {"": ""}
    prefix = f"{next(name for name in node.output if name)}/"
    return [_renamed(inner, names, prefix, given, node.name) for inner in function.node]


def _function(
    node: NodeProto,
    schema: Any,  # onnx's own annotations lack what it says about bodies
    opsets: Opsets,
    types: Mapping[str, TypeProto],
) -> FunctionProto | None:
    version = opsets.get(_standard(node.domain), 1)
    depends = schema.has_context_dependent_function
    known = (
        schema.context_dependent_function_opset_versions
        if depends
        else schema.function_opset_versions
    )
    version = max((body for body in known if body <= version), default=0)
    body: bytes | None
    if not version or (depends and any(name and name not in types for name in node.input)):
        return None
    if depends:
        inputs = [types.get(name, TypeProto()).SerializeToString() for name in node.input]
        body = schema.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), inputs
        )
    else:
        body = schema.get_function_with_opset_version(version)
    if not body:
        return None
    function: FunctionProto = FunctionProto.FromString(body)
    return function


def _is_covered(function: FunctionProto, opsets: Opsets) -> bool:
    """Whether all operators have a translator, the same at the body's version and the model's."""
    own = {_standard(item.domain): item.version for item in function.opset_import}
    for node in all_nodes(function.node):
        domain = _standard(node.domain)
        version = opsets.get(domain)
        if version is None:
            return False
        written_for = own.get(domain, version)
        translator = find(domain, node.op_type, version)
        if translator is not find(domain, node.op_type, written_for):
            return False
        if translator is None and not _is_candidate(node, opsets):
            return False
    return True


def _renamed(
    node: NodeProto,
    names: dict[str, str],
    prefix: str,
    given: Mapping[str, AttributeProto],
    owner: str,
) -> NodeProto:
    """Copy a node of a body: names of its own, the owner's attributes where it refers to them."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name, copy.doc_string = owner, BODY_DOC
    copy.ClearField("input")
    copy.input.extend(names.setdefault(name, prefix + name) for name in node.input)
    copy.ClearField("output")
    copy.output.extend(names.setdefault(name, prefix + name) for name in node.output)
    copy.ClearField("attribute")
    for attribute in node.attribute:
        settled = AttributeProto()
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in given:
                continue
            settled.CopyFrom(given[attribute.ref_attr_name])
            settled.name = attribute.name
        else:
            settled.CopyFrom(attribute)
            for graph in (settled.g, *settled.graphs):
                _rename_graph(graph, names, prefix, given, owner)
        copy.attribute.append(settled)
    return copy


def _rename_graph(
    graph: GraphProto,
    names: dict[str, str],
    prefix: str,
    given: Mapping[str, AttributeProto],
    owner: str,
) -> None:
    """The same, in place, for a graph that an inner node holds."""
    for part in (graph.input, graph.output, graph.value_info, graph.initializer):
        for item in part:
            item.name = names.setdefault(item.name, prefix + item.name)
    nodes = [_renamed(node, names, prefix, given, owner) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
