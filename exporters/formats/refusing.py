"""When a format cannot be had for a model: one kind of error, and what all formats refuse alike."""

from collections.abc import Iterator

import onnx

from exporters.draft import bodies
from graph_analysis.errors import InputError
from graph_analysis.external_data import stored_bytes

_MOST_BYTES = 2**31 - (16 << 20)  # protobuf stops at 2 GiB; the rest is for the graph
_STRING = onnx.TensorProto.STRING
_FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})
_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "MatMulInteger", "ConvInteger")


def unsupported(form: str, reason: str, *, param: str | None = None) -> InputError:
    """The error that says why ``form`` cannot be made of a model."""
    message = f"no {form} can be made of this model: {reason}"
    return InputError(message, code="export-unsupported", param=param)


def check_size(model: onnx.ModelProto, form: str) -> None:
    """Refuse a model that does not fit into one file.

    Raises:
        InputError: ``export-unsupported``.
    """
    # protobuf cannot even count a message that is too large, so the weights are counted
    size = sum(stored_bytes(t) for t in tensors_of(model.graph) if t.data_type != _STRING)
    if size > _MOST_BYTES:
        reason = f"its {size:,} bytes of weights do not fit into the 2 GiB of one ONNX file"
        raise unsupported(form, reason)


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of bodies included."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from nodes_of(body)


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers and constants, those of bodies included."""
    yield from graph.initializer
    for node in graph.node:
        yield from (a.t for a in node.attribute if a.type == onnx.AttributeProto.TENSOR)
        for body in bodies(node):
            yield from tensors_of(body)


def check_is_float32(model: onnx.ModelProto, form: str) -> None:
    """Refuse a model whose weights are no float32, or that is quantised already.

    Raises:
        InputError: ``export-unsupported``.
    """
    for tensor in tensors_of(model.graph):
        if tensor.data_type in _FLOATS - {onnx.TensorProto.FLOAT}:
            reason = f"its weight '{tensor.name}' is half precision already; start from float32"
            raise unsupported(form, reason, param=tensor.name)
        if tensor.data_type == onnx.TensorProto.DOUBLE and len(tensor.dims) > 1:
            reason = f"its weight '{tensor.name}' is float64; start from float32"
            raise unsupported(form, reason, param=tensor.name)
    for node in nodes_of(model.graph):
        if node.op_type.endswith(_QUANTISED) or node.op_type.startswith("QLinear"):
            reason = f"node '{node.name}' ({node.op_type}) is quantised already"
            raise unsupported(form, reason, param=node.name)


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def check_opset(model: onnx.ModelProto, least: int, form: str, why: str) -> None:
    """Refuse an opset below ``least``.

    Raises:
        InputError: ``export-unsupported``.
    """
    opset = opset_of(model)
    if opset < least:
        reason = f"{why} needs opset {least}, the model has {opset}; export it again with that"
        raise unsupported(form, reason)


def first_line(error: Exception) -> str:
    """The words of an error on one line, not too many."""
    return " ".join(str(error).split())[:300]
