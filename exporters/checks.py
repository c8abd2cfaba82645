"""What must hold of a cut file before anyone runs it: valid, promised shapes, same interface.

These read the file only; whether it computes the right thing is the business of ``proof``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from exporters.errors import SurgeryError
from exporters.weights import copy_without

_PARSED = 1 << 30  # bytes up to which the checker is given the whole model in memory


def check_interface(source: onnx.ModelProto, result: onnx.ModelProto) -> None:
    """Gate G7: inputs, outputs, operator sets and IR version are those of ``source``.

    Names, order, element types, static lengths and symbols of dynamic axes must be equal. Inputs
    that only give a default for an initializer are not part of the interface.

    Raises:
        SurgeryError: Names the first thing that differs.
    """
    for what, before, after in (
        ("input", _inputs(source), _inputs(result)),
        ("output", list(source.graph.output), list(result.graph.output)),
    ):
        if [value.name for value in before] != [value.name for value in after]:
            names = [value.name for value in after]
            msg = f"the model's {what}s are now {names}; they must stay as they were"
            raise SurgeryError(msg)
        for old, new in zip(before, after, strict=True):
            if old.type != new.type:
                message = f"type or axes of the {what} {old.name!r} of the model changed"
                raise SurgeryError(message, param=old.name)
    if source.ir_version != result.ir_version or list(source.opset_import) != list(
        result.opset_import
    ):
        msg = "IR version or operator sets of the model changed"
        raise SurgeryError(msg)


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def check_valid(source: onnx.ModelProto, result: onnx.ModelProto) -> None:
    """The ONNX checker accepts ``result``, or does not accept ``source`` either.

    Raises:
        SurgeryError: The checker's own words.
    """
    complaint = _complaint(result)
    if complaint and not _complaint(source):
        msg = f"the cut file is not valid ONNX: {complaint}"
        raise SurgeryError(msg)


def _complaint(model: onnx.ModelProto) -> str:
    if model.ByteSize() > _PARSED:
        model = _light(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # noqa: BLE001  (checker and shape inference raise several kinds)
        return " ".join(str(error).split())
    return ""


def check_shapes(
    model: onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]],
    inputs: Mapping[str, Sequence[int]],
) -> None:
    """Shape inference over ``model`` finds no length that contradicts ``shapes``.

    Args:
        model: The cut model.
        shapes: Tensor -> its shape as the analysis predicts it.
        inputs: Graph input -> the shape it is bound to while inferring.

    Raises:
        SurgeryError: Names the first tensor, the length found and the length predicted.
    """
    light = _light(model)
    for value in light.graph.input:
        if value.name in inputs and value.type.HasField("tensor_type"):
            value.CopyFrom(
                onnx.helper.make_tensor_value_info(
                    value.name,
                    value.type.tensor_type.elem_type,
                    list(inputs[value.name]),
                )
            )
    del light.graph.value_info[:]
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    # Not strict: inference knows no types behind some valid operators, GroupNormalization for one.
    # Operands that contradict each other are found by ``check_valid`` and by loading the file.
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        found = _lengths(value)
        predicted = shapes.get(value.name)
        if found is None or predicted is None:
            continue
        if len(found) != len(predicted) or any(
            a is not None and a != b for a, b in zip(found, predicted, strict=True)
        ):
            message = f"tensor {value.name!r} has shape {found}, predicted is {list(predicted)}"
            raise SurgeryError(message, param=value.name)


def _light(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large weights declared as inputs: same shapes, no data."""
    light = copy_without(model, "initializer")
    declared = {value.name for value in light.graph.input}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= 1024:
            light.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return light


def _lengths(value: onnx.ValueInfoProto) -> list[int | None] | None:
    tensor_type = value.type.tensor_type
    if not tensor_type.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor_type.shape.dim]
