"""The gate's steps from the raw bytes to the figures of an admitted model, in order.

Runs inside the sandboxed child; tests may call it directly. Steps: wire scan, parse, rules, then
the native part on a copy without weights.
"""

import math
from collections import Counter
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError

from service.admission.inference import check_inferred
from service.admission.limits import AdmissionLimits
from service.admission.refusal import refuse
from service.admission.rules import check_model
from service.admission.rules.context import all_places, plain_domain
from service.admission.rules.tensors import float_initializers
from service.admission.skeleton import skeleton_of
from service.admission.values import Admission, TensorInfo
from service.admission.wire_scan import scan_wire


def inspect_bytes(
    data: bytes, limits: AdmissionLimits, operators: frozenset[tuple[str, str]]
) -> Admission:
    """Admit a model or say why not.

    Args:
        data: The whole file.
        limits: Sizes and counts.
        operators: (domain, name) of what can be imported.

    Raises:
        AdmissionError: The file breaks a rule; the code says which.
    """
    if not data:
        refuse("model-empty", "the file is empty; export the model again and upload it")
    scan_wire(data, limits)
    model = _parse(data)
    del data  # half of the memory, if the caller does not keep it
    nodes = check_model(model, limits, operators)
    inferred = check_inferred(skeleton_of(model), limits)
    return _describe(model, inferred, nodes)


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except DecodeError:
        message = "the file is damaged: it cannot be read as an ONNX model; export it again"
        refuse("model-not-onnx", message)


def _describe(model: onnx.ModelProto, inferred: onnx.ModelProto, nodes: int) -> Admission:
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    default = next(e for e in model.opset_import if plain_domain(e.domain) == "")
    outputs = {value.name: value for value in inferred.graph.output}
    return Admission(
        nodes=nodes,
        parameters=sum(math.prod(tensor.dims) for tensor in float_initializers(graph)),
        opset=default.version,
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(_tensor(value) for value in graph.input if value.name not in stored),
        outputs=tuple(_tensor(outputs.get(value.name, value)) for value in graph.output),
        operators=dict(sorted(Counter(_operators(inferred)).items())),
    )


def _operators(model: onnx.ModelProto) -> Iterator[str]:
    """Names of all operators after expansion, with the domain unless it is the default one."""
    for place in all_places(model):
        for node in place.nodes:
            domain = plain_domain(node.domain)
            yield f"{domain}.{node.op_type}" if domain else node.op_type


def _tensor(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor_type = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
    shape = tuple(_axis(dim) for dim in tensor_type.shape.dim)
    return TensorInfo(
        name=value.name,
        dtype=str(dtype),
        shape=shape if tensor_type.HasField("shape") else None,
    )


def _axis(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
