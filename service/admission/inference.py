"""Shapes of everything inside the network, a budget on their size, and the full checker.

This is the native part of the gate: it runs inside the sandboxed child, on a copy without weights,
and only on what the rules have let through. Library texts are read for the kind of fault and the
node, never passed on.
"""

import math
import re
from collections.abc import Collection
from typing import NoReturn

import onnx
from onnx import checker, shape_inference

from service.admission.limits import AdmissionLimits
from service.admission.refusal import refuse, shown
from service.admission.rules.context import all_places
from service.admission.rules.tensors import ELEMENT_BYTES, check_type
from service.admission.runtime_shapes import (
    has_runtime_operators,
    sizes_of_tensors,
    with_own_domain,
)

_NODE = re.compile(r"\(op_type:([^,)]*)(?:, node name: ([^)]*))?\)")
_ATTRIBUTE_WORDS = re.compile(
    r"\baxis\b|\baxes\b|\battribute\b|\bperm\b|kernel|stride|\bpads?\b|dilation|\bgroup\b", re.I
)
_SHOWN_BYTES = 1024**2


def check_inferred(model: onnx.ModelProto, limits: AdmissionLimits) -> onnx.ModelProto:
    """Infer all shapes, hold them against the budget, and run the full checker.

    Args:
        model: Without local functions; large weights may be missing.
        limits: Bytes of one and of all inner tensors.

    Returns:
        The model with the inferred shapes.

    Raises:
        AdmissionError: ``model-attribute``, ``model-shape-mismatch``, ``model-dtype``,
            ``model-type``, ``model-rank`` or ``model-activation-too-large``.
    """
    is_fused = has_runtime_operators(model)
    checked = with_own_domain(model) if is_fused else model
    try:
        # check_type: without it nothing behind an operator that is defined by a body gets a type
        inferred = shape_inference.infer_shapes(
            checked, check_type=True, strict_mode=True, data_prop=False
        )
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        _refuse_inference(str(error))
    check_activations(inferred, limits)
    if is_fused:
        _check_sizes(sizes_of_tensors(model).items(), limits)
    try:
        checker.check_model(_with_output_shapes(inferred), full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError, RuntimeError) as error:
        _refuse_inference(str(error))
    if is_fused:  # the names as they are in the file
        for node, original in zip(inferred.graph.node, model.graph.node, strict=True):
            node.domain = original.domain
    return inferred


def _with_output_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The checker insists on a shape for every output, where runtimes do not: give it one."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    return copy


def check_activations(model: onnx.ModelProto, limits: AdmissionLimits) -> None:
    """Hold every inferred tensor against the budget; free axes count as 1.

    Raises:
        AdmissionError: ``model-activation-too-large``, ``model-rank``, ``model-dtype`` or
            ``model-type``.
    """
    sizes = [
        (value.name, _bytes_of(value, limits))
        for place in all_places(model)
        if place.graph is not None
        for value in (*place.graph.value_info, *place.graph.output)
    ]
    _check_sizes(sizes, limits)


def _check_sizes(sizes: Collection[tuple[str, int]], limits: AdmissionLimits) -> None:
    for name, size in sizes:
        if size > limits.activation_bytes:
            _refuse_large(f"tensor {shown(name)} inside the network needs", size,
                          limits.activation_bytes, name)  # fmt: skip
    total = sum(size for _, size in sizes)
    if total > limits.activations_bytes:
        _refuse_large("the tensors inside the network need", total, limits.activations_bytes, None)


def _bytes_of(value: onnx.ValueInfoProto, limits: AdmissionLimits) -> int:
    if not value.HasField("type"):
        return 0
    if not value.type.HasField("tensor_type"):
        message = f"{shown(value.name)} inside the network is not a tensor"
        refuse("model-type", message, param=value.name)
    tensor_type = value.type.tensor_type
    if tensor_type.elem_type == onnx.TensorProto.UNDEFINED:
        return 0
    check_type(tensor_type.elem_type, value.name)
    dims = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in tensor_type.shape.dim]
    if len(dims) > limits.rank:
        message = f"tensor {shown(value.name)} has {len(dims)} dimensions, more than {limits.rank}"
        refuse("model-rank", message, param=value.name, limit=limits.rank, actual=len(dims))
    return math.prod(max(dim, 0) for dim in dims) * ELEMENT_BYTES[tensor_type.elem_type]


def _refuse_large(what: str, size: int, limit: int, name: str | None) -> NoReturn:
    message = (
        f"{what} {size // _SHOWN_BYTES} MiB for one sample, more than the limit of "
        f"{limit // _SHOWN_BYTES} MiB; export with a smaller input"
    )
    refuse("model-activation-too-large", message, param=name, limit=limit, actual=size)


def _refuse_inference(text: str) -> NoReturn:
    """Tell an impossible attribute from shapes that do not fit, and name the node."""
    found = _NODE.search(text)
    operator, name = (found[1], found[2] or "") if found else ("", "")
    where = f"node {shown(name)} ({shown(operator)[1:-1]})" if found else "a node"
    if _ATTRIBUTE_WORDS.search(text):
        message = f"an attribute of {where} does not fit its inputs; export the model again"
        refuse("model-attribute", message, param=name or operator or None)
    message = f"the inputs of {where} do not fit together in shape or type; export the model again"
    refuse("model-shape-mismatch", message, param=name or operator or None)
