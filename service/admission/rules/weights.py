"""Rules about weights: finite, and not all zero. What is a weight is decided by its role.

Infinite constants are common elsewhere (attention masks), so only tensors in the weight slots of
structural operators are looked at.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, all_places
from service.admission.rules.tensors import float_initializers

_SLOTS = frozenset(
    {
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "GRU",
        "Gemm",
        "GroupNormalization",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "MatMul",
        "PRelu",
        "RNN",
    }
)


def check_weights(context: Context) -> None:
    """Check the values of the weights in the main graph.

    Raises:
        AdmissionError: ``model-non-finite-weights`` or ``model-nothing-to-prune``.
    """
    slots = {
        name
        for place in all_places(context.model)
        for node in place.nodes
        if node.op_type in _SLOTS
        for name in node.input
    }
    matrices, zero_matrices = 0, 0
    for tensor in float_initializers(context.model.graph):
        if tensor.name not in slots:
            continue
        values = numpy_helper.to_array(tensor)
        _check_finite(tensor, values)
        if values.ndim > 1 and values.size:
            matrices += 1
            zero_matrices += int(not values.any())
    if matrices and matrices == zero_matrices:
        message = "all weights of the model are zero, so nothing can be learned from it"
        refuse("model-nothing-to-prune", message)


def _check_finite(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    wide = values.astype(np.float32) if values.dtype.itemsize < 4 else values
    if not np.isfinite(wide).all():
        message = f"the weight {shown(tensor.name)} holds NaN or infinite values; train again"
        refuse("model-non-finite-weights", message, param=tensor.name)
