"""Rules about declared inputs, outputs and intermediate values: tensors of known, sane shapes."""

from collections.abc import Iterator

import onnx

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, all_places
from service.admission.rules.tensors import check_dims, check_type


def check_values(context: Context) -> None:
    """Check every declared type and shape, in bodies too.

    Raises:
        AdmissionError: ``model-type``, ``model-dtype``, ``model-rank``, ``model-dim-negative``,
            ``model-tensor-too-large`` or ``input-shape-required``.
    """
    graph = context.model.graph
    for value in graph.input:
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            message = f"input {shown(value.name)} declares no shape; export with input shapes"
            refuse("input-shape-required", message, param=value.name)
    for value in (*graph.input, *graph.output):
        if value.type.HasField("tensor_type"):
            check_type(value.type.tensor_type.elem_type, value.name)
    for value in _declared(context):
        _check_value(value, context)


def _declared(context: Context) -> Iterator[onnx.ValueInfoProto]:
    yield from (*context.model.graph.input, *context.model.graph.output)
    for place in all_places(context.model):
        if place.graph is not None:
            graph = place.graph
            typed = [*graph.value_info, *graph.input, *graph.output]
            yield from (value for value in typed if value.HasField("type"))
    for function in context.model.functions:
        yield from (value for value in function.value_info if value.HasField("type"))


def _check_value(value: onnx.ValueInfoProto, context: Context) -> None:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value") or "unknown type"
        message = (
            f"{shown(value.name)} is not a tensor but a {kind.removesuffix('_type')}; export a "
            "model whose inputs and outputs are tensors"
        )
        refuse("model-type", message, param=value.name)
    tensor_type = value.type.tensor_type
    if tensor_type.elem_type == onnx.TensorProto.UNDEFINED:
        return  # exporters leave the types inside bodies open
    element_bytes = check_type(tensor_type.elem_type, value.name)
    dims = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in tensor_type.shape.dim]
    check_dims(dims, value.name, element_bytes, context)
