"""A converter's result made whole: the header of the file that came in, and a file that loads."""

from collections.abc import Callable

import onnx

from exporters import checks
from exporters.errors import SurgeryError
from exporters.formats.refusing import first_line, nodes_of, unsupported
from exporters.formats.trial import check_loads
from graph_analysis.errors import InputError


def converted(
    source: onnx.ModelProto, form: str, convert: Callable[[], onnx.ModelProto]
) -> onnx.ModelProto:
    """What ``convert`` returns, with the header of ``source``, if it is still a whole model.

    Inputs, outputs, metadata and doc strings are those of ``source``. Operator sets may grow.

    Raises:
        InputError: ``export-unsupported``: ``convert`` failed, or made something else.
    """
    try:
        result = convert()
    except InputError:
        raise
    except Exception as error:
        words = first_line(error) or "without a reason"
        reason = f"the converter stopped ({type(error).__name__}: {words})"
        raise unsupported(form, reason) from error
    _restore_header(source, result)
    same = onnx.ModelProto(ir_version=source.ir_version, opset_import=source.opset_import)
    same.graph.input.extend(result.graph.input)
    same.graph.output.extend(result.graph.output)
    same.graph.initializer.extend(
        onnx.TensorProto(name=tensor.name) for tensor in result.graph.initializer
    )
    try:
        checks.check_interface(source, same)
        onnx.checker.check_model(result)
    except (SurgeryError, onnx.checker.ValidationError) as error:
        reason = f"the converter made a file that is not valid: {first_line(error)}"
        raise unsupported(form, reason) from error
    check_loads(result.SerializeToString(), form)
    return result


def _restore_header(source: onnx.ModelProto, result: onnx.ModelProto) -> None:
    """What converters lose or overwrite although it is the user's."""
    for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(result, name, getattr(source, name))
    result.graph.name = source.graph.name
    result.graph.doc_string = source.graph.doc_string
    used = {node.domain for node in nodes_of(result.graph)}
    used |= {entry.domain for entry in source.opset_import}
    imports = [entry for entry in result.opset_import if entry.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(imports)
    del result.metadata_props[:]
    result.metadata_props.extend(source.metadata_props)
    known = {tensor.name for tensor in source.graph.initializer}
    declared = {v.name: v for v in (*source.graph.input, *source.graph.output)}
    for value in (*result.graph.input, *result.graph.output):
        before = declared.get(value.name)
        if before is None or value.name in known:
            continue
        if value.type.tensor_type.elem_type == before.type.tensor_type.elem_type:
            value.CopyFrom(before)
