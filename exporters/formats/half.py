"""float16: weights and activations in half the bytes; inputs and outputs keep their types.

The conversion is ONNX Runtime's. It leaves casts at the end of the graph, which the standard
forbids (nodes are put in order here), and clips weights that float16 cannot hold without a word
(refused here). Whatever else it does wrong shows when the file is checked and run.
"""

import numpy as np
import onnx

from exporters.formats.converting import converted
from exporters.formats.refusing import (
    check_is_float32,
    check_size,
    tensors_of,
    unsupported,
)
from exporters.weights import to_array
from graph_analysis.ordering import sort_nodes

_FORM = "float16 file"
_LARGEST = float(np.finfo(np.float16).max)
_ENDLESS = 1e30  # masks are filled with such numbers, and clipping leaves them masks


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with weights and activations in float16, its interface as it was.

    Raises:
        InputError: ``export-unsupported``: it is no float32 model, a weight is beyond 65504, or the
            conversion gives no valid file.
    """
    check_size(model, _FORM)
    check_is_float32(model, _FORM)
    _check_range(model)

    def convert() -> onnx.ModelProto:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        result: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
        sort_nodes(result.graph)
        return result

    return converted(model, _FORM, convert)


def _check_range(model: onnx.ModelProto) -> None:
    """Weights beyond float16 would be clipped in silence."""
    for tensor in tensors_of(model.graph):
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue  # scalars are bounds of a Clip or fillers of a mask more often than not
        values = np.abs(to_array(tensor).astype(np.float32))
        largest = float(np.max(values, initial=0.0, where=values < _ENDLESS))
        if largest > _LARGEST:
            reason = f"a value of '{tensor.name}' is {largest:.3g}, float16 ends at {_LARGEST:g}"
            raise unsupported(_FORM, reason, param=tensor.name)
