"""What a cut file no longer says that the user's file said, beside what was cut away."""

from collections.abc import Iterable, Iterator
from typing import Any

import onnx

from exporters.draft import bodies, with_bodies

_HEADER = (
    "ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string",
)  # fmt: skip


def lost(source: onnx.ModelProto, result: onnx.ModelProto) -> list[str]:
    """Everything missing or changed, in words; empty if nothing is.

    Compared are the header, operator sets, metadata, doc strings, the interface with its axes,
    defaults of inputs, the names of what remains, and value infos and quantisation annotations of
    tensors that remain. Nodes of local functions are compared by nothing: they are written out
    where they were called.
    """
    return list(_lost(source, result))


def _lost(source: onnx.ModelProto, result: onnx.ModelProto) -> Iterator[str]:
    for name in _HEADER:
        if getattr(source, name) != getattr(result, name):
            yield f"{name} {getattr(source, name)!r} is now {getattr(result, name)!r}"
    if _pairs(source.metadata_props) != _pairs(result.metadata_props):
        yield "metadata of the model"
    before = {entry.domain: entry.version for entry in source.opset_import}
    after = {entry.domain: entry.version for entry in result.opset_import}
    local = {function.domain for function in source.functions}
    if any(after.get(k) != v for k, v in before.items() if k not in local):
        yield f"operator sets {before} are now {after}"
    yield from _lost_of_graph(source.graph, result.graph)


def _lost_of_graph(source: onnx.GraphProto, result: onnx.GraphProto) -> Iterator[str]:
    for name in ("name", "doc_string"):
        if getattr(source, name) != getattr(result, name):
            yield f"{name} of the graph"
    if _pairs(source.metadata_props) != _pairs(result.metadata_props):
        yield "metadata of the graph"
    weights = {tensor.name for tensor in result.initializer}
    gone = {tensor.name for tensor in source.initializer} - weights
    kept = [value for value in source.input if value.name not in gone]
    yield from _values("input", kept, result.input, weights, complete=True)
    yield from _values("output", source.output, result.output, set(), complete=True)
    there = {name for node in with_bodies(result.node) for name in node.output} | weights
    wanted = [value for value in source.value_info if value.name in there]
    yield from _values("value info", wanted, result.value_info, weights, complete=False)
    annotated = {entry.tensor_name for entry in result.quantization_annotation}
    for entry in source.quantization_annotation:
        if entry.tensor_name in there and entry.tensor_name not in annotated:
            yield f"quantisation annotation of {entry.tensor_name!r}"
    yield from _nodes(source, result)
    yield from _tensors(source, result)


def _values(
    what: str,
    source: Iterable[onnx.ValueInfoProto],
    result: Iterable[onnx.ValueInfoProto],
    weights: set[str],
    *,
    complete: bool,
) -> Iterator[str]:
    found = {value.name: value for value in result}
    before = list(source)
    if complete and [value.name for value in before] != list(found):
        yield f"{what}s {[value.name for value in before]} are now {list(found)}"
    for value in before:
        other = found.get(value.name)
        if other is None:
            yield f"{what} of {value.name!r}"
        elif value.doc_string != other.doc_string or _pairs(value.metadata_props) != _pairs(
            other.metadata_props
        ):
            yield f"doc string or metadata of {what} {value.name!r}"
        elif complete and value.name not in weights and value.type != other.type:
            yield f"type of {what} {value.name!r}"
        elif _symbols(value) != _symbols(other):
            yield f"free axes of {what} {value.name!r}"


def _symbols(value: onnx.ValueInfoProto) -> list[str]:
    """Per axis its symbol; empty where it has a length, or nothing."""
    return [dim.dim_param for dim in value.type.tensor_type.shape.dim]


def _nodes(source: onnx.GraphProto, result: onnx.GraphProto) -> Iterator[str]:
    before = {node.output[0]: node for node in source.node if node.output}
    for node in result.node:
        old = before.get(node.output[0]) if node.output else None
        if old is None or old.op_type != node.op_type:
            continue
        if (old.name, old.doc_string) != (node.name, node.doc_string):
            yield f"name or doc string of node {old.name!r}"
        if _pairs(old.metadata_props) != _pairs(node.metadata_props):
            yield f"metadata of node {old.name!r}"
        for body, now in zip(bodies(old), bodies(node), strict=True):
            for what in _body(body, now):
                yield f"{what} in node {old.name!r}"


def _body(source: onnx.GraphProto, result: onnx.GraphProto) -> Iterator[str]:
    """What a graph inside a node lost."""
    if (source.name, source.doc_string) != (result.name, result.doc_string):
        yield "name or doc string of the body"
    if _pairs(source.metadata_props) != _pairs(result.metadata_props):
        yield "metadata of the body"
    for what, before, after in (
        ("input", source.input, result.input),
        ("output", source.output, result.output),
    ):
        for old, new in zip(before, after, strict=True):
            if (old.doc_string, _pairs(old.metadata_props)) != (
                new.doc_string,
                _pairs(new.metadata_props),
            ):
                yield f"doc string or metadata of {what} {old.name!r}"
    there = {name for node in result.node for name in node.output}
    wanted = [value for value in source.value_info if value.name in there]
    yield from _values("value info", wanted, result.value_info, set(), complete=False)
    yield from _nodes(source, result)
    yield from _tensors(source, result)


def _tensors(source: onnx.GraphProto, result: onnx.GraphProto) -> Iterator[str]:
    before = {tensor.name: tensor for tensor in source.initializer}
    for tensor in result.initializer:
        old = before.get(tensor.name)
        if old is None:
            continue
        if old.data_type != tensor.data_type or old.doc_string != tensor.doc_string:
            yield f"type or doc string of initializer {tensor.name!r}"
        if _pairs(old.metadata_props) != _pairs(tensor.metadata_props):
            yield f"metadata of initializer {tensor.name!r}"


def _pairs(entries: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in entries}
