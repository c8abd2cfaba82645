"""A copy of a model without its large weights, for native code that only needs their shapes.

Shape inference and the checker copy the whole file several times. Large initializers of the main
graph therefore become graph inputs of the same type; small ones stay, since they may be shapes.
"""

import onnx
from onnx import inliner

from service.admission.refusal import refuse, shown

_KEPT_BYTES = 64 * 1024


def skeleton_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without large weights and without local functions; ``model`` stays as it is.

    Raises:
        AdmissionError: ``model-functions``: a function cannot be expanded.
    """
    copy = onnx.ModelProto()
    copy.ir_version = max(model.ir_version, 4)  # before 4, initializers had to be inputs
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    _copy_graph(model.graph, copy.graph)
    return _expand(copy) if copy.functions else copy


def _copy_graph(source: onnx.GraphProto, target: onnx.GraphProto) -> None:
    target.name = source.name or "graph"
    target.node.extend(source.node)
    target.input.extend(source.input)
    target.output.extend(source.output)
    inputs = {value.name for value in source.input}
    for tensor in source.initializer:
        if tensor.ByteSize() <= _KEPT_BYTES:
            target.initializer.append(tensor)
        elif tensor.name not in inputs:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            target.input.append(value)


def _expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inline all functions; their number of nodes has been checked."""
    try:
        expanded = inliner.inline_local_functions(model, convert_version=True)
    except (RuntimeError, ValueError) as error:
        message = "the model's local functions cannot be expanded; inline them when exporting"
        refuse("model-functions", message, actual=len(str(error)))
    if expanded.functions:
        name = expanded.functions[0].name
        message = f"the function {shown(name)} cannot be expanded: its operator versions differ"
        refuse("model-functions", message, param=name)
    return expanded
